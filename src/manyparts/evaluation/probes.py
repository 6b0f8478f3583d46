"""Probes: how much of the true state, and of the goal, can be read from a frozen representation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from manyparts.agents.loading import load_system
from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.serialisation import from_jsonable
from manyparts.data.dataset import EpisodeDataset
from manyparts.embodiment.codec import Codec
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.viewed_data import as_learned
from manyparts.models.representation import Representation
from manyparts.nn.mlp import mlp
from manyparts.objectives.representations.behaviour_cloning import EmbeddingCloning
from manyparts.objectives.system import System

_MAX_FRAMES = 4000
_FRAMES_AT_ONCE = 256  # frames that are encoded together
_FOLDS = 5
_HIDDEN, _STEPS, _BATCH = 128, 400, 256  # of the perceptron and its training
_VALIDATE_EVERY_STEPS = 20
_RIDGES = 10.0 ** np.arange(-4, 3)
_MIN_STD = 1e-3  # of a feature that varies, as a fraction of the largest std
_MAX_STDS = 5.0  # features are clipped so far from their mean
_STILL_STD = 1e-3  # of actions in [-1, 1] that do not vary


def probe(run: str | Path, data: str | Path, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """How well the state and the goal can be predicted from a representation: R^2 on held-out
    episodes.

    Each of five parts of the episodes is held out once. Another part chooses how strongly the
    linear map is regularised (for each dimension) and when the perceptron's training stops. An R^2
    of 1 is a perfect prediction, 0 is that of the mean of the other episodes, below 0 is worse than
    the mean. At most 4000 frames are used.

    Args:
        run: a run of a representation.
        data: a dataset with images and states, of the run's embodiment, that it was not trained on.
        seed: of the parts, and of the perceptron.

    Returns:
        By "linear" (a linear map) and "mlp" (a small perceptron), for each dimension of the state
        that varies, by its name, the R^2 of its prediction from the embedding of a frame; also for
        each dimension of the goal ("goal 0" and so on) if the dataset's environment can be made.

    Raises:
        UserError: the run is not of a representation, or the dataset is too small or does not fit.
    """
    dataset = as_learned(data, run)
    system, codec = _system(run, dataset)
    if dataset.num_episodes < 5:
        raise UserError(f"{data} has {dataset.num_episodes} episodes; probes need at least 5")
    rows = _sampled(dataset)
    embedded, states = _embedded(system.model, codec, dataset, rows)
    goals = _goals(dataset)
    episode = np.concatenate([np.full(len(own), index) for index, own in enumerate(rows)])
    fold = (np.random.default_rng(seed).permutation(dataset.num_episodes) % _FOLDS)[episode]
    targets = dict(zip(dataset.spec.state_names, states.T, strict=True))
    if goals is not None:
        targets |= {f"goal {number}": column for number, column in enumerate(goals[episode].T)}
    varying = {name: column for name, column in targets.items() if _varies(column, fold)}
    if not varying:
        return {"linear": {}, "mlp": {}}
    values = np.stack(list(varying.values()), axis=1)
    return {
        kind: dict(zip(varying, _scores(fit, embedded, values, fold, seed), strict=True))
        for kind, fit in (("linear", _ridge), ("mlp", _perceptron))
    }


def action_errors(run: str | Path, data: str | Path) -> list[float]:
    """The error of a tuned policy's actions in each episode of a dataset.

    It is the mean square error as a fraction of the variance of actions over all these episodes, a
    mean over the dimensions that vary. 0 is the expert's own action, 1 is always the mean action.

    Args:
        run: a run of a policy over a representation.
        data: a dataset of the run's embodiment.

    Raises:
        UserError: the run has no policy over a representation or does not fit the dataset, or no
            action varies.
    """
    dataset = as_learned(data, run)
    system, codec = _system(run, dataset)
    policy = None
    if "behaviour_cloning" in system.objectives:
        policy = system.objectives["behaviour_cloning"]
    if not isinstance(policy, EmbeddingCloning):
        raise UserError(f"{run} learned no policy over a representation")
    rows = _sampled(dataset)
    embedded, _ = _embedded(system.model, codec, dataset, rows)
    with torch.inference_mode():
        chunks = policy.decide(torch.from_numpy(embedded)[None])[0].unflatten(
            -1, (system.model.chunk, -1)
        )
    predicted = chunks[:, 0].numpy()
    targets, dimension = [], codec.spec.action.dimension
    for index, own in enumerate(rows):
        columns = dataset.columns(index)
        action = columns.get(EXPERT_ACTION, columns[ACTION]).reshape(-1, dimension)
        targets.append(codec.encode_action(action[own]))
    variance = np.concatenate(targets).var(axis=0)
    varies = variance > _STILL_STD**2
    if not varies.any():
        raise UserError(f"actions do not vary in {data}: there is nothing to predict")
    ends = np.cumsum([len(own) for own in rows])[:-1]
    errors = []
    for actions, target in zip(np.split(predicted, ends), targets, strict=True):
        error = np.square(actions - target)[:, varies] / variance[varies]
        errors.append(float(error.mean()))
    return errors


def _system(run: str | Path, dataset: EpisodeDataset) -> tuple[System, Codec]:
    """A run's representation with its objectives, and its embodiment."""
    system, info = load_system(run)
    if not isinstance(system.model, Representation):
        raise UserError(
            f"{run} is of a {type(system.model).__name__}; probes read a representation"
        )
    embodiment = info.embodiment_of(
        dataset.spec, f"{dataset.path} is of another embodiment than {run}"
    )
    return system.eval(), embodiment.codec


def _sampled(dataset: EpisodeDataset) -> list[np.ndarray]:
    """Some rows of each episode, evenly spaced."""
    count = max(2, _MAX_FRAMES // dataset.num_episodes)
    rows = []
    for length in np.diff(dataset.starts):
        rows.append(np.unique(np.linspace(0, length - 1, min(count, length)).astype(int)))
    return rows


@torch.inference_mode()
def _embedded(
    model: Representation,
    codec: Codec,
    dataset: EpisodeDataset,
    rows: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, e) and states (n, s) of the chosen rows."""
    states = [_states(dataset, index)[own] for index, own in enumerate(rows)]
    state = np.concatenate(states).astype(np.float32)
    if model.config.sees == "state":
        return codec.encode_state(state), state
    tokens = []
    for camera in model.cameras:
        frames = np.concatenate(
            [dataset.frames(index, camera, own) for index, own in enumerate(rows)]
        )
        pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        features = [
            model.visual_features(part, camera)[:, 0] for part in pixels.split(_FRAMES_AT_ONCE)
        ]
        tokens.append(torch.cat(features))
    return torch.cat(tokens, dim=1).numpy(), state


def _states(dataset: EpisodeDataset, index: int) -> np.ndarray:
    if not dataset.spec.state_names:
        return np.zeros((dataset.length(index), 0), np.float32)
    return dataset.columns(index)[STATE].reshape(dataset.length(index), -1)


def _goals(dataset: EpisodeDataset) -> np.ndarray | None:
    """Every episode's goal, from its environment started again; None for datasets of other
    programs, and if tasks differ in what a goal is."""
    if not dataset.environment:
        return None
    goals: dict[int, np.ndarray] = {}
    for number, task in enumerate(dataset.tasks):
        try:
            env = registry.make(task.environment, from_jsonable(EnvConfig, dataset.environment))
        except UserError:  # a suite that is not installed, or no suite of this library
            return None
        with closing(env):
            for index in np.flatnonzero(dataset.episode_task == number).tolist():
                env.begin(dataset.seed(index))
                goal = getattr(env, "goal", None)
                if goal is None:
                    return None
                goals[index] = np.asarray(goal, np.float32)
    if len({goal.shape for goal in goals.values()}) != 1:
        return None
    return np.stack([goals[index] for index in range(dataset.num_episodes)])


def _varies(column: np.ndarray, fold: np.ndarray) -> bool:
    """Whether a number varies whichever part is held out."""
    return all(column[fold != each].std() > 1e-6 for each in range(_FOLDS))


def _scores(
    fit: Fit, embedded: np.ndarray, values: np.ndarray, fold: np.ndarray, seed: int
) -> list[float]:
    """R^2, over all rows, of the predictions of each row by a fit to the other folds.

    The errors of all folds are summed first: an R^2 of a single fold would be unstable, since a
    goal hardly varies among a few episodes.
    """
    error, spread = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for held_out in range(_FOLDS):
        learned = fold != held_out
        validates = fold == (held_out + 1) % _FOLDS
        inputs = _standardised(embedded, learned)
        mean, std = values[learned].mean(axis=0), values[learned].std(axis=0)
        targets = (values - mean) / std
        trains = learned & ~validates
        split = _Split(inputs[trains], targets[trains], inputs[validates], targets[validates])
        predicted = fit(split, inputs[~learned], seed) * std + mean
        error += np.square(predicted - values[~learned]).sum(axis=0)
        spread += np.square(values[~learned] - mean).sum(axis=0)
    return (1 - error / spread).tolist()


def _standardised(embedded: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Features by mean and std of the rows that are learned from, clipped; without the features
    that do not vary there."""
    std = embedded[learned].std(axis=0)
    varies = std > _MIN_STD * std.max()
    scaled = (embedded - embedded[learned].mean(axis=0))[:, varies] / std[varies]
    return scaled.clip(-_MAX_STDS, _MAX_STDS)


class _Split(NamedTuple):
    """Inputs (n, e) and targets (n, d), for training and for validation."""

    inputs: np.ndarray
    targets: np.ndarray
    validation_inputs: np.ndarray
    validation_targets: np.ndarray


Fit = Callable[[_Split, np.ndarray, int], np.ndarray]
"""Learns from a split, and predicts for other inputs (m, e), with a seed: (m, d)."""


def _ridge(split: _Split, new: np.ndarray, seed: int) -> np.ndarray:
    """Ridge regression: the strength is chosen for each dimension, then learned from all rows."""
    errors = [
        np.square(predicted - split.validation_targets).mean(axis=0)
        for predicted in _ridges(split.inputs, split.targets, split.validation_inputs)
    ]
    best = np.argmin(errors, axis=0)
    inputs = np.concatenate([split.inputs, split.validation_inputs])
    targets = np.concatenate([split.targets, split.validation_targets])
    predicted = np.stack(_ridges(inputs, targets, new))
    return np.take_along_axis(predicted, best[None, None], axis=0)[0]


def _ridges(inputs: np.ndarray, targets: np.ndarray, new: np.ndarray) -> list[np.ndarray]:
    """The predictions of a linear map of each strength.

    In the basis of the eigenvectors of the inputs' covariance a ridge only adds to the eigenvalues,
    so that one decomposition does for all strengths.
    """
    values, vectors = np.linalg.eigh(inputs.T @ inputs / len(inputs))
    inner, outer = vectors.T @ (inputs.T @ targets) / len(inputs), new @ vectors
    return [outer @ (inner / (values.clip(0) + strength)[:, None]) for strength in _RIDGES]


def _perceptron(split: _Split, new: np.ndarray, seed: int) -> np.ndarray:
    """For each dimension the predictions of the perceptron at its best validation, or of the mean
    if that is better."""
    inputs, targets, validation = (torch.from_numpy(array).float() for array in split[:3])
    other = torch.from_numpy(new).float()
    min_error = np.square(split.validation_targets).mean(axis=0)  # that of the mean, which is 0
    best = np.zeros((len(new), targets.shape[1]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = mlp([inputs.shape[1], _HIDDEN, _HIDDEN, targets.shape[1]])
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        for step in range(1, _STEPS + 1):
            chosen = torch.randint(len(inputs), (_BATCH,))
            optimizer.zero_grad()
            nn.functional.mse_loss(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
            if step % _VALIDATE_EVERY_STEPS == 0:
                with torch.inference_mode():
                    difference = network(validation).numpy() - split.validation_targets
                    error = np.square(difference).mean(axis=0)
                    best = np.where(error < min_error, network(other).numpy(), best)
                min_error = np.minimum(error, min_error)
    return best
