"""How well dynamics models predict: their own predictions fed back, under the actions that were
really taken."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.agents.loading import load_system
from manyparts.core.arguments import path_of, whole
from manyparts.core.columns import ACTION, STATE
from manyparts.core.devices import threads
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.randomness import derive_seed
from manyparts.core.spec import ActionContract
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.splits import seen_episodes
from manyparts.data.tools.bounds import outside_bounds
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.evaluation.prediction.calibration import calibration
from manyparts.evaluation.prediction.chart import draw, write_chart
from manyparts.evaluation.prediction.forecast import Forecast, Horizon, Imagined, TrainedOn, labels
from manyparts.models.checkpoint import load_info, resolve
from manyparts.models.dynamics.distributional import Distributional
from manyparts.models.dynamics.world_model import WorldModel, step_by_step

HORIZONS = (1, 5, 10, 25, 50)
RESULTS, CHART = "prediction.json", "prediction.svg"
_RESAMPLES = 2000


@dataclass(frozen=True)
class _Forecaster:
    """A run's model, and states and actions as it knows them. seen: see `seen_episodes`."""

    run: str
    model: Any
    normaliser: StateNormaliser
    contract: ActionContract
    seen: np.ndarray | None


@dataclass(frozen=True)
class _Window:
    """Steps of an episode from frame `first` on: states (c + h + 1, s), actions and rewards (c + h,
    ...) between them, in the simulator's units. seed: of what models draw."""

    episode: int
    first: int
    state: Float[np.ndarray, "t s"]
    action: Float[np.ndarray, "u a"]
    reward: Float[Tensor, "u"]
    seed: int


@dataclass(frozen=True)
class _Walk:
    """One prediction: errors (h, s) of the model and of standing still, and (h,) of the reward, at
    every step."""

    episode: int
    error: np.ndarray
    still: np.ndarray
    reward: np.ndarray


def open_loop(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | EpisodeDataset,
    *,
    horizons: Sequence[int] = HORIZONS,
    windows: int = 64,
    seed: int = 0,
    output: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> list[Forecast]:
    """Predictions of dynamics models on the same windows of a dataset, one for each run. `runs` may
    be a single one.

    Of a dataset that one was trained on, episodes are predicted that all have held out; if there is
    none that is long enough, any (see `Forecast.trained_on`). windows: predictions, spread over the
    episodes (of more episodes so many are drawn); each begins after as many real steps as the model
    that keeps most of them. seed: of where they begin, and of what models draw. changes: of the
    models that have such a setting, see `load_system`. Without rewards the models are told that all
    were 0. Errors of all are in standard deviations of the first run's training data. output: a
    folder for prediction.json and prediction.svg. Raises UserError if a run is of no dynamics
    model, the dataset does not fit it or is not finite, or its episodes are too short.
    """
    if not horizons or min(horizons) < 1:
        raise UserError(f"horizons {tuple(horizons)}; expected at least 1 each")
    asked = _ask(runs, data, max(horizons), windows, seed, changes)
    unit = asked.forecasters[0].normaliser.scale
    found = [_forecast(each, asked, horizons, unit) for each in asked.forecasters]
    if output is not None:
        _write(
            path_of(output, "output"),
            found,
            data.location if isinstance(data, EpisodeDataset) else str(data),
        )
    return found


def imagine(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | EpisodeDataset,
    *,
    horizon: int,
    windows: int,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> list[Imagined]:
    """The first so many windows of `open_loop` for this horizon, and what its models say of
    them."""
    asked = _ask(runs, data, horizon, windows, seed, changes)
    names = labels([each.run for each in asked.forecasters])
    found = []
    for window in asked.windows:
        with threads(1):
            told = [_dream(each, window, asked.context) for each in asked.forecasters]
        units = [
            (each.normaliser.inverse(states), rewards)
            for each, (states, rewards) in zip(asked.forecasters, told, strict=True)
        ]
        reward = (
            window.reward.numpy()
            if asked.rewarded
            else np.full(len(window.reward), np.nan, np.float32)
        )
        known = (window.episode, window.first, asked.context, window.state, reward)
        found.append(Imagined(*known, dict(zip(names, units, strict=True))))
    return found


@dataclass(frozen=True)
class _Asked:
    """Models, and windows of a dataset in which each predicts after `context` steps. rewarded: it
    has rewards."""

    dataset: EpisodeDataset
    forecasters: list[_Forecaster]
    context: int
    windows: list[_Window]
    rewarded: bool

    @property
    def episodes(self) -> np.ndarray:
        """Those that are predicted."""
        return np.unique([window.episode for window in self.windows])


def _ask(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | EpisodeDataset,
    horizon: int,
    windows: int,
    seed: int,
    changes: Mapping[str, Any] | None,
) -> _Asked:
    runs = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    windows, seed = whole("windows", windows), whole("seed", seed)
    if windows < 1 or not runs:
        raise UserError(
            f"{windows} windows and {len(runs)} runs to predict with; expected at least 1 each"
        )
    dataset = EpisodeDataset.open(data)
    infos = [load_info(resolve(run)) for run in runs]
    for name in changes or {}:
        if not any(name in info.model for info in infos):
            raise UserError(
                f"model.{name} is asked for, but of none of these models: {', '.join(map(str, runs))}"
            )
    own = [
        {name: to for name, to in (changes or {}).items() if name in info.model} for info in infos
    ]
    forecasters = [_forecaster(run, dataset, known) for run, known in zip(runs, own, strict=True)]
    context = max(each.model.steps for each in forecasters) - 1
    seen = np.unique(
        np.concatenate([each.seen for each in forecasters if each.seen is not None] or [[]])
    )
    drawn = list(_windows(dataset, seen, context, horizon, windows, seed))
    return _Asked(dataset, forecasters, context, drawn, dataset.has_rewards)


def _forecaster(
    run: str | Path, dataset: EpisodeDataset, changes: Mapping[str, Any] | None
) -> _Forecaster:
    system, info = load_system(run, changes)
    model = system.eval().model
    if not isinstance(model, WorldModel):
        raise UserError(f"{run} is of a {type(model).__name__}, which predicts no dynamics")
    body = info.embodiment_of(dataset.spec, f"{dataset.path} is of another embodiment than {run}")
    normaliser = StateNormaliser.of(body.statistics, dataset.spec.state_dimension)
    seen = dataset.statistics[STATE]
    for number in np.flatnonzero(
        normaliser.held(np.asarray(seen.min)) | normaliser.held(np.asarray(seen.max))
    ):
        warnings.warn(
            f"state {dataset.spec.state_names[number]} moves here, but was always {normaliser.mean[number]:g} in the "
            f"data of {run}, which predicts nothing of it",
            DatasetWarning,
            stacklevel=2,
        )
    return _Forecaster(
        str(run), model, normaliser, body.spec.action, seen_episodes(info.provenance, dataset)
    )


def _windows(
    dataset: EpisodeDataset, seen: np.ndarray, context: int, horizon: int, count: int, seed: int
) -> Iterator[_Window]:
    """seen: episodes that are predicted only if no other will do."""
    needed = context + horizon + 1
    lengths = np.diff(dataset.starts)
    fit = np.flatnonzero(lengths >= needed)
    if not len(fit):
        raise UserError(
            f"{dataset.path} has no episode of {needed} frames, which {context} steps of history and a horizon of "
            f"{horizon} take; the longest has {lengths.max(initial=0)}: ask for shorter --horizons, or longer episodes"
        )
    unseen = np.setdiff1d(fit, seen)
    fit = unseen if len(unseen) else fit
    generator = np.random.default_rng(seed)
    if len(fit) > count:
        fit = generator.permutation(fit)
    for number in range(count):
        episode = int(fit[number % len(fit)])
        first = int(generator.integers(lengths[episode] - needed + 1))
        yield _window(dataset, episode, first, needed, derive_seed("dream", seed, number))


def _window(dataset: EpisodeDataset, episode: int, first: int, frames: int, seed: int) -> _Window:
    columns, length = dataset.columns(episode), dataset.length(episode)
    rows = slice(first, first + frames)
    contract, where = dataset.spec.action, f"{dataset.path}: episode {episode}, frame"
    state, action, reward = (
        np.asarray(values, np.float32).reshape(length, -1)[rows]
        for values in (columns[STATE], columns[ACTION], dataset.rewards(episode, columns))
    )
    _require(np.isfinite(state), state, dataset.spec.state_names, where, first, "finite numbers")
    _require(np.isfinite(reward), reward, ("reward",), where, first, "finite numbers")
    bounds = f"actions from {contract.low} to {contract.high}"
    _require(~outside_bounds(contract, action), action, contract.names, where, first, bounds)
    return _Window(episode, first, state, action[:-1], torch.tensor(reward[:-1, 0]), seed)


def _require(
    holds: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    where: str,
    first: int,
    expected: str,
) -> None:
    """Raises UserError naming the first of `values` (t, d) that does not hold."""
    for row, column in np.argwhere(~holds)[:1]:
        raise UserError(
            f"{where} {first + row}: {names[column]} is {values[row, column]}; expected {expected}"
        )


def _forecast(
    forecaster: _Forecaster, asked: _Asked, horizons: Sequence[int], unit: Float[np.ndarray, "s"]
) -> Forecast:
    """unit: the stds in which errors are told."""
    names, scale = asked.dataset.spec.state_names, forecaster.normaliser.scale / unit
    with threads(
        1
    ):  # an imagination of one has too little to share, and beside other work threads wait for each other
        walks = [_walk(forecaster, window, asked.context, scale) for window in asked.windows]
    rows = tuple(
        _row(walks, steps, names, rewarded=asked.rewarded) for steps in sorted(set(horizons))
    )
    found = None
    if isinstance(forecaster.model, Distributional):
        told = [*names, "reward"] if asked.rewarded else list(names)
        found = calibration(
            _transform(forecaster, asked.windows, asked.context)[:, : len(told)], told
        )
    episodes = asked.episodes
    return Forecast(
        forecaster.run,
        len(asked.windows),
        len(episodes),
        _trained_on(forecaster.seen, episodes),
        rows,
        found,
    )


def _trained_on(seen: np.ndarray | None, episodes: np.ndarray) -> TrainedOn:
    if seen is None:
        return "other data"
    return "these episodes" if np.isin(episodes, seen).any() else "other episodes"


def _walk(
    forecaster: _Forecaster, window: _Window, context: int, scale: Float[np.ndarray, "s"]
) -> _Walk:
    """scale: from the model's stds to those in which errors are told."""
    state = forecaster.normaliser.scaled(window.state)
    (predicted, rewards), truth = _dream(forecaster, window, context), state[context + 1 :]
    return _Walk(
        window.episode,
        np.square((predicted - truth) * scale),
        np.square((state[context] - truth) * scale),
        np.square(rewards - window.reward[context:].numpy()),
    )


def _dream(forecaster: _Forecaster, window: _Window, context: int) -> tuple[np.ndarray, np.ndarray]:
    """States (h, s), normalised, and rewards (h,) that the model tells after `context` steps of a
    window."""
    seen = torch.from_numpy(forecaster.normaliser(window.state[: context + 1]))
    action = torch.from_numpy(forecaster.contract.normalise(window.action))
    encoded = forecaster.model.encode(seen, action[:context], window.reward[:context])
    imagination = encoded.imagine(1, torch.Generator().manual_seed(window.seed))
    observation, reward = step_by_step(imagination, action[None, context:])
    return observation[0].numpy(), reward[0].numpy()


def _transform(
    forecaster: _Forecaster, windows: Sequence[_Window], context: int
) -> Float[np.ndarray, "n m"]:
    """The probability integral transform of every step that was predicted, each one step ahead."""
    state = torch.from_numpy(
        np.stack([forecaster.normaliser.scaled(window.state) for window in windows])
    )
    action = torch.from_numpy(
        forecaster.contract.normalise(np.stack([window.action for window in windows]))
    )
    reward = torch.stack([window.reward for window in windows])
    found = []
    for end in range(context + 1, state.shape[1]):
        past = slice(end - context - 1, end)
        seen = state[:, past.start : end + 1]
        found.append(forecaster.model.cumulative(seen, action[:, past], reward[:, past]))
    return torch.cat(found).numpy()


def _row(walks: Sequence[_Walk], steps: int, names: Sequence[str], *, rewarded: bool) -> Horizon:
    errors = np.array([walk.error[steps - 1] for walk in walks])
    low, high = _interval(errors.mean(axis=1), np.array([walk.episode for walk in walks]))
    return Horizon(
        steps=steps,
        error=float(errors.mean()),
        low=low,
        high=high,
        still=float(np.mean([walk.still[steps - 1] for walk in walks])),
        reward=float(np.mean([walk.reward[steps - 1] for walk in walks])) if rewarded else None,
        dimensions=dict(zip(names, errors.mean(axis=0).tolist(), strict=True)),
    )


def _interval(values: np.ndarray, episodes: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Of the mean, drawing episodes anew with all their windows; none of a single episode."""
    known = np.unique(episodes)
    if len(known) == 1:
        return None, None
    sums = np.array([values[episodes == each].sum() for each in known])
    counts = np.array([(episodes == each).sum() for each in known])
    drawn = np.random.default_rng(0).integers(len(known), size=(_RESAMPLES, len(known)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _write(folder: Path, found: Sequence[Forecast], data: str) -> None:
    """A record a run; that of a single run is the whole file."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"data": data} | asdict(forecast) for forecast in found]
    content = records[0] if len(records) == 1 else {"models": records}
    write_atomically(folder / RESULTS, json.dumps(content, indent=1).encode())
    write_chart(folder / CHART, lambda: draw(found))
