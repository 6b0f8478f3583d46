"""Probes: how much of the true state, and of the goal, can be read off a frozen representation."""

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
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.models.representation import Representation
from manyparts.nn.mlp import mlp
from manyparts.objectives.representations.behaviour_cloning import EmbeddingCloning
from manyparts.objectives.system import System

_FRAMES, _AT_ONCE = 4000, 256
_HIDDEN, _STEPS, _STEPS_BETWEEN_LOOKS, _BATCH, _FOLDS = 128, 400, 20, 256, 5
_RIDGES = 10.0 ** np.arange(-4, 3)
_VARYING, _FARTHEST = 1e-3, 5.0  # a part of the largest std; stds
_STILL = 1e-3  # of actions in [-1, 1], a std that is none


def probe(run: str | Path, data: str | Path, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """R^2 on held-out episodes of a "linear" map and of a small perceptron ("mlp") from the
    embedding of a frame to each dimension of the state that varies, by its name, and to those of
    the goal ("goal 0" and so on) where the dataset's environment can be made again.

    Of five parts of the episodes each is held out once; another one chooses how strongly the linear
    map is regularised (for each dimension) and when the perceptron's training stops. 1 is all that
    there is to know, 0 what the mean of the others tells, less is worse than that. data: a dataset
    with images and states, of the run's embodiment, not trained on. At most 4000 frames are looked
    at. Raises UserError if the run is not of a representation, or the dataset is too small or does
    not fit.
    """
    dataset = EpisodeDataset.open(data)
    model, normaliser = _representation(run, dataset)
    if dataset.num_episodes < 5:
        raise UserError(f"{data} has {dataset.num_episodes} episodes; probes need at least 5")
    rows = _sampled(dataset)
    embedded, states = _embedded(model, normaliser, dataset, rows)
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
    """Of each episode of a dataset: the mean square error of a tuned policy's actions, as a part of
    what their variance over all these episodes is, a mean over the dimensions that vary in them. 0
    is the expert, 1 is what the mean action costs. Raises UserError if the run has no policy over a
    representation or does not fit the dataset, or where no action varies."""
    dataset = EpisodeDataset.open(data)
    system, body, normaliser = _system(run, dataset)
    policy = (
        system.objectives["behaviour_cloning"] if "behaviour_cloning" in system.objectives else None
    )
    if not isinstance(policy, EmbeddingCloning):
        raise UserError(f"{run} learned no policy over a representation")
    rows = _sampled(dataset)
    embedded, _ = _embedded(system.model, normaliser, dataset, rows)
    with torch.inference_mode():
        chunks = policy.decide(torch.from_numpy(embedded)[None])[0].unflatten(
            -1, (system.model.chunk, -1)
        )
    predicted = chunks[:, 0].numpy()
    contract = body.spec.action
    episodes = [dataset.columns(index) for index in range(dataset.num_episodes)]
    wanted = [
        contract.normalise(
            columns.get(EXPERT_ACTION, columns[ACTION]).reshape(-1, contract.dimension)[own]
        )
        for columns, own in zip(episodes, rows, strict=True)
    ]
    spread = np.concatenate(wanted).var(axis=0)
    varies = spread > _STILL**2
    if not varies.any():
        raise UserError(f"actions do not vary in {data}: there is nothing to predict")
    ends = np.cumsum([len(own) for own in rows])[:-1]
    errors = [
        np.square(ours - theirs)
        for ours, theirs in zip(np.split(predicted, ends), wanted, strict=True)
    ]
    return [float((error[:, varies] / spread[varies]).mean()) for error in errors]


def _representation(
    run: str | Path, dataset: EpisodeDataset
) -> tuple[Representation, StateNormaliser]:
    system, _, normaliser = _system(run, dataset)
    return system.model, normaliser


def _system(run: str | Path, dataset: EpisodeDataset) -> tuple[System, Embodiment, StateNormaliser]:
    system, info = load_system(run)
    if not isinstance(system.model, Representation):
        raise UserError(
            f"{run} is of a {type(system.model).__name__}; probes read a representation"
        )
    body = info.embodiment_of(dataset.spec, f"{dataset.path} is of another embodiment than {run}")
    return system.eval(), body, StateNormaliser.of(body.statistics, dataset.spec.state_dimension)


def _sampled(dataset: EpisodeDataset) -> list[np.ndarray]:
    """Of each episode some rows, evenly spaced."""
    each = max(2, _FRAMES // dataset.num_episodes)
    lengths = np.diff(dataset.starts)
    return [
        np.unique(np.linspace(0, length - 1, min(each, length)).astype(int)) for length in lengths
    ]


@torch.inference_mode()
def _embedded(
    model: Representation,
    normaliser: StateNormaliser,
    dataset: EpisodeDataset,
    rows: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, e) and states (n, s) of the chosen rows."""
    states = [_states(dataset, index)[own] for index, own in enumerate(rows)]
    state = np.concatenate(states).astype(np.float32)
    if model.config.sees == "state":
        return normaliser(state), state
    tokens = []
    for camera in model.cameras:
        frames = np.concatenate(
            [dataset.frames(index, camera, own) for index, own in enumerate(rows)]
        )
        pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        tokens.append(
            torch.cat(
                [model.visual_features(part, camera)[:, 0] for part in pixels.split(_AT_ONCE)]
            )
        )
    return torch.cat(tokens, dim=1).numpy(), state


def _states(dataset: EpisodeDataset, index: int) -> np.ndarray:
    if not dataset.spec.state_names:
        return np.zeros((dataset.length(index), 0), np.float32)
    return dataset.columns(index)[STATE].reshape(dataset.length(index), -1)


def _goals(dataset: EpisodeDataset) -> np.ndarray | None:
    """Every episode's goal, from its environment begun again; None for datasets that others wrote,
    and where tasks differ in what a goal is."""
    if not dataset.environment:
        return None
    goals: dict[int, np.ndarray] = {}
    for number, task in enumerate(dataset.tasks):
        try:
            env = registry.make(task.name, from_jsonable(EnvConfig, dataset.environment))
        except UserError:  # a suite that is not installed, or not ours
            return None
        with closing(env):
            for index in np.flatnonzero(dataset.episode_task == number).tolist():
                env.begin(dataset.seed(index))
                goal = getattr(env, "goal", None)
                if goal is None:
                    return None
                goals[index] = np.asarray(goal, np.float32)
    shapes = {goal.shape for goal in goals.values()}
    return (
        np.stack([goals[index] for index in range(dataset.num_episodes)])
        if len(shapes) == 1
        else None
    )


def _varies(column: np.ndarray, fold: np.ndarray) -> bool:
    return all(column[fold != each].std() > 1e-6 for each in range(_FOLDS))


def _scores(
    fit: Fit, embedded: np.ndarray, values: np.ndarray, fold: np.ndarray, seed: int
) -> list[float]:
    """R^2 over all rows of what `fit` learns of each from the other folds. A single fold would not
    do: a goal hardly varies among a few episodes."""
    error, spread = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for each in range(_FOLDS):
        known, chooses = fold != each, fold == (each + 1) % _FOLDS
        inputs = _standardised(embedded, known)
        mean, std = values[known].mean(axis=0), values[known].std(axis=0)
        wanted = (values - mean) / std
        learns = known & ~chooses
        split = _Split(inputs[learns], wanted[learns], inputs[chooses], wanted[chooses])
        predicted = fit(split, inputs[~known], seed) * std + mean
        error += np.square(predicted - values[~known]).sum(axis=0)
        spread += np.square(values[~known] - mean).sum(axis=0)
    return (1 - error / spread).tolist()


def _standardised(embedded: np.ndarray, known: np.ndarray) -> np.ndarray:
    """By mean and std of the known rows; without the features that do not vary there, and without
    outliers."""
    std = embedded[known].std(axis=0)
    varies = std > _VARYING * std.max()
    scaled = (embedded - embedded[known].mean(axis=0))[:, varies] / std[varies]
    return scaled.clip(-_FARTHEST, _FARTHEST)


class _Split(NamedTuple):
    """Rows (n, e) and what they should tell (n, d): to learn from, and to choose by how much."""

    inputs: np.ndarray
    wanted: np.ndarray
    choosing_inputs: np.ndarray
    choosing_wanted: np.ndarray


Fit = Callable[[_Split, np.ndarray, int], np.ndarray]


def _ridge(split: _Split, new: np.ndarray, seed: int) -> np.ndarray:
    """The strength that is best for each dimension, then learned from all rows."""
    errors = [
        np.square(tried - split.choosing_wanted).mean(axis=0)
        for tried in _ridges(split.inputs, split.wanted, split.choosing_inputs)
    ]
    best = np.argmin(errors, axis=0)
    inputs = np.concatenate([split.inputs, split.choosing_inputs])
    wanted = np.concatenate([split.wanted, split.choosing_wanted])
    predicted = np.stack(_ridges(inputs, wanted, new))
    return np.take_along_axis(predicted, best[None, None], axis=0)[0]


def _ridges(inputs: np.ndarray, wanted: np.ndarray, new: np.ndarray) -> list[np.ndarray]:
    """What a map of each strength predicts."""
    values, vectors = np.linalg.eigh(inputs.T @ inputs / len(inputs))
    inner, outer = vectors.T @ (inputs.T @ wanted) / len(inputs), new @ vectors
    return [outer @ (inner / (values.clip(0) + strength)[:, None]) for strength in _RIDGES]


def _perceptron(split: _Split, new: np.ndarray, seed: int) -> np.ndarray:
    """The mean, or the perceptron at that look at its training which is best for each dimension."""
    inputs, wanted, choosing = (torch.from_numpy(array).float() for array in split[:3])
    other = torch.from_numpy(new).float()
    least = np.square(split.choosing_wanted).mean(axis=0)  # of the mean
    best = np.zeros((len(new), wanted.shape[1]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = mlp([inputs.shape[1], _HIDDEN, _HIDDEN, wanted.shape[1]])
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        for step in range(1, _STEPS + 1):
            chosen = torch.randint(len(inputs), (_BATCH,))
            optimizer.zero_grad()
            nn.functional.mse_loss(network(inputs[chosen]), wanted[chosen]).backward()
            optimizer.step()
            if step % _STEPS_BETWEEN_LOOKS == 0:
                with torch.inference_mode():
                    error = np.square(network(choosing).numpy() - split.choosing_wanted).mean(
                        axis=0
                    )
                    best = np.where(error < least, network(other).numpy(), best)
                least = np.minimum(error, least)
    return best
