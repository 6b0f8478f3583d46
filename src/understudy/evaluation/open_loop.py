"""How well a dynamics model predicts: its own predictions fed back, under the actions that were really taken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from understudy.agents.loading import load_system
from understudy.claim import write_atomically
from understudy.data.dataset import EpisodeDataset
from understudy.data.formats.reader import ACTION, REWARD, STATE
from understudy.data.transforms import StateNormaliser
from understudy.models.dynamics_transformer import DynamicsTransformer
from understudy.types import UserError

HORIZONS = (1, 5, 10, 25, 50)
RESULTS = "prediction.json"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Horizon:
    """So many steps ahead. error: mean square error of the state in its training data's deviations, low to high: a 95 %
    bootstrap interval over episodes. still: the same of predicting that nothing changes. reward: mean square error of
    the reward. dimensions: error of each."""

    steps: int
    error: float
    low: float
    high: float
    still: float
    reward: float
    dimensions: dict[str, float]


@dataclass(frozen=True)
class _Walk:
    """One prediction: errors (h, s) of the model and of standing still, and (h,) of the reward, at every step."""

    episode: int
    error: np.ndarray
    still: np.ndarray
    reward: np.ndarray


def open_loop(
    run: str | Path,
    data: str | Path,
    *,
    horizons: Sequence[int] = HORIZONS,
    windows: int = 64,
    seed: int = 0,
    output: str | Path | None = None,
) -> list[Horizon]:
    """Prediction errors of a dynamics model on a dataset that it was not trained on, a row for each horizon.

    windows: predictions, spread over the episodes; each begins after as many real steps as the model keeps. output:
    a folder for prediction.json. Raises UserError if the run is of no dynamics model, the dataset does not fit it, or
    its episodes are too short.
    """
    if not horizons or min(horizons) < 1 or windows < 1:
        raise UserError(f"horizons {tuple(horizons)} and windows {windows}; expected at least 1 each")
    dataset = EpisodeDataset.open(data)
    system, info = load_system(run)
    if not isinstance(system.model, DynamicsTransformer):
        raise UserError(f"{run} is of a {type(system.model).__name__}, which predicts no dynamics")
    body = info.embodiments[info.joint.index(dataset.spec, f"{dataset.path} is of another embodiment than {run}")]
    normaliser = StateNormaliser.of(body.statistics, dataset.spec.state_dimension)
    walks = list(_walks(system.model.eval(), dataset, normaliser, max(horizons), windows, seed))
    found = [_row(walks, steps, dataset.spec.state_names) for steps in sorted(set(horizons))]
    if output is not None:
        rows = {"run": str(run), "data": str(data), "windows": len(walks), "horizons": [asdict(row) for row in found]}
        Path(output).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(output) / RESULTS, json.dumps(rows, indent=1).encode())
    return found


def _walks(
    model: DynamicsTransformer,
    dataset: EpisodeDataset,
    normaliser: StateNormaliser,
    horizon: int,
    windows: int,
    seed: int,
) -> Iterator[_Walk]:
    context = model.steps - 1
    needed = context + horizon + 1
    lengths = np.diff(dataset.starts)
    fit = np.flatnonzero(lengths >= needed)
    if not len(fit):
        raise UserError(
            f"{dataset.path} has no episode of {needed} frames, which {context} steps of history and a horizon of "
            f"{horizon} take; the longest has {lengths.max()}"
        )
    generator = np.random.default_rng(seed)
    for number in range(windows):
        episode = int(fit[number % len(fit)])
        first = int(generator.integers(lengths[episode] - needed + 1))
        yield _walk(model, dataset, normaliser, episode, first, context, horizon)


def _walk(
    model: DynamicsTransformer,
    dataset: EpisodeDataset,
    normaliser: StateNormaliser,
    episode: int,
    first: int,
    context: int,
    horizon: int,
) -> _Walk:
    columns, rows = dataset.columns(episode), slice(first, first + context + horizon + 1)
    length = dataset.length(episode)
    state = normaliser(columns[STATE].reshape(length, -1)[rows])
    action = dataset.spec.action.normalise(columns[ACTION].reshape(length, -1)[rows])
    reward = np.asarray(columns.get(REWARD, np.zeros(length)), np.float32).reshape(length)[rows]
    seen, acted, earned = (torch.tensor(np.asarray(part), dtype=torch.float32) for part in (state, action, reward))
    dream = model.encode(seen[: context + 1], acted[:context], earned[:context]).dream(1)
    steps = [dream.step(acted[None, context + step]) for step in range(horizon)]
    predicted = torch.cat([step.observation for step in steps]).numpy()
    rewards = torch.cat([step.reward for step in steps]).numpy()
    truth = state[context + 1 :]
    return _Walk(
        episode,
        np.square(predicted - truth),
        np.square(state[context] - truth),
        np.square(rewards - reward[context : context + horizon]),
    )


def _row(walks: Sequence[_Walk], steps: int, names: Sequence[str]) -> Horizon:
    errors = np.array([walk.error[steps - 1] for walk in walks])
    low, high = _interval(errors.mean(axis=1), np.array([walk.episode for walk in walks]))
    return Horizon(
        steps=steps,
        error=float(errors.mean()),
        low=low,
        high=high,
        still=float(np.mean([walk.still[steps - 1] for walk in walks])),
        reward=float(np.mean([walk.reward[steps - 1] for walk in walks])),
        dimensions=dict(zip(names, errors.mean(axis=0).tolist(), strict=True)),
    )


def _interval(values: np.ndarray, episodes: np.ndarray) -> tuple[float, float]:
    """Of the mean, drawing episodes anew with all their windows."""
    known = np.unique(episodes)
    sums = np.array([values[episodes == each].sum() for each in known])
    counts = np.array([(episodes == each).sum() for each in known])
    drawn = np.random.default_rng(0).integers(len(known), size=(_RESAMPLES, len(known)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
