"""How well dynamics models predict: their own predictions fed back, under the actions that were
really taken."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from manyparts.agents.loading import load_system
from manyparts.core.arguments import path_of, whole
from manyparts.core.columns import STATE
from manyparts.core.devices import threads
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.splits import seen_episodes
from manyparts.embodiment.codec import Codec
from manyparts.evaluation.prediction.calibration import Calibration, calibration
from manyparts.evaluation.prediction.chart import draw, write_chart
from manyparts.evaluation.prediction.forecast import Forecast, Horizon, Imagined, TrainedOn, labels
from manyparts.evaluation.prediction.windows import Window, draw_windows
from manyparts.models.checkpoint import load_info, resolve
from manyparts.models.dynamics.distributional import Distributional
from manyparts.models.dynamics.latent_context import StatePredictor
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.world_model import WorldModel, step_by_step

HORIZONS = (1, 5, 10, 25, 50)
RESULTS, CHART = "prediction.json", "prediction.svg"
_RESAMPLES = 2000


@dataclass(frozen=True)
class _Forecaster:
    """A run's model and embodiment.

    Attributes:
        run: its folder.
        model: the dynamics model.
        codec: between states and actions and the model's.
        seen: see `seen_episodes`.
    """

    run: str
    model: Any
    codec: Codec
    seen: np.ndarray | None


@dataclass(frozen=True)
class _Errors:
    """Squared errors of one prediction at each of h steps: of the model's states (h, s), of
    standing still (h, s), and of the rewards (h,)."""

    episode: int
    state: np.ndarray
    still: np.ndarray
    reward: np.ndarray


@dataclass(frozen=True)
class _Setup:
    """Models, and windows of a dataset in which each predicts after `context` steps.

    Attributes:
        rewarded: whether the dataset has rewards.
    """

    dataset: EpisodeDataset
    forecasters: list[_Forecaster]
    context: int
    windows: list[Window]
    rewarded: bool

    @property
    def episodes(self) -> np.ndarray:
        """Indices of the episodes that are predicted."""
        return np.unique([window.episode for window in self.windows])


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
    """Measure the predictions of dynamics models, all on the same windows of a dataset.

    If a model was trained on the dataset, only episodes are predicted that all models held out; if
    none of these is long enough, any episode is (see `Forecast.trained_on`). Errors of all models
    are in stds of the first run's training data. If the dataset has no rewards, the models get
    rewards of 0.

    Args:
        runs: run or checkpoint folders of dynamics models, or a single one.
        data: a dataset, or its folder.
        horizons: steps ahead.
        windows: number of predictions, spread over the episodes. Each begins after as many real
            steps as the model with the longest context takes.
        seed: of where windows begin, and of what models draw.
        output: folder for prediction.json and prediction.svg; None: nothing is written.
        changes: of settings, for the models that have them; see `load_system`.

    Returns:
        One forecast per run.

    Raises:
        UserError: a run is of no dynamics model, the dataset does not fit it or is not finite, or
            its episodes are too short.
    """
    if not horizons or min(horizons) < 1:
        raise UserError(f"horizons {tuple(horizons)}; expected at least 1 each")
    setup = _prepare(runs, data, max(horizons), windows, seed, changes)
    unit = setup.forecasters[0].codec.normaliser.scale
    forecasts = [_forecast(each, setup, horizons, unit) for each in setup.forecasters]
    if output is not None:
        location = data.location if isinstance(data, EpisodeDataset) else str(data)
        _write(path_of(output, "output"), forecasts, location)
    return forecasts


def imagine(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | EpisodeDataset,
    *,
    horizon: int,
    windows: int,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> list[Imagined]:
    """The first windows of `open_loop` for this horizon, and what its models imagine of them.

    Args:
        runs: as in `open_loop`.
        data: as in `open_loop`.
        horizon: steps that are imagined.
        windows: number of windows.
        seed: as in `open_loop`.
        changes: as in `open_loop`.

    Returns:
        One record per window. Its rewards are NaN if the dataset has none.

    Raises:
        UserError: see `open_loop`.
    """
    setup = _prepare(runs, data, horizon, windows, seed, changes)
    names = labels([each.run for each in setup.forecasters])
    results = []
    for window in setup.windows:
        imagined = {}
        for name, forecaster in zip(names, setup.forecasters, strict=True):
            with threads(1):
                states, rewards = _imagine(forecaster, window, setup.context)
            imagined[name] = (forecaster.codec.decode_state(states), rewards)
        reward = np.full(len(window.reward), np.nan, np.float32)
        if setup.rewarded:
            reward = window.reward.numpy()
        results.append(
            Imagined(window.episode, window.first, setup.context, window.state, reward, imagined)
        )
    return results


def _prepare(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | EpisodeDataset,
    horizon: int,
    windows: int,
    seed: int,
    changes: Mapping[str, Any] | None,
) -> _Setup:
    """Load the models, and draw the windows."""
    paths = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    windows, seed = whole("windows", windows), whole("seed", seed)
    if windows < 1 or not paths:
        raise UserError(
            f"{windows} windows and {len(paths)} runs to predict with; expected at least 1 each"
        )
    dataset = EpisodeDataset.open(data)
    infos = [load_info(resolve(path)) for path in paths]
    changes = changes or {}
    for name in changes:
        if not any(name in info.model for info in infos):
            raise UserError(
                f"model.{name} is a setting of none of these models: {', '.join(map(str, paths))}"
            )
    forecasters = []
    for path, info in zip(paths, infos, strict=True):
        own = {name: value for name, value in changes.items() if name in info.model}
        forecasters.append(_forecaster(path, dataset, own))
    context = max(each.model.steps for each in forecasters) - 1
    seen = [each.seen for each in forecasters if each.seen is not None]
    avoided = np.unique(np.concatenate(seen or [[]]))
    drawn = list(draw_windows(dataset, avoided, context, horizon, windows, seed))
    return _Setup(dataset, forecasters, context, drawn, dataset.has_rewards)


def _forecaster(
    run: str | Path, dataset: EpisodeDataset, changes: Mapping[str, Any]
) -> _Forecaster:
    """The model of a run, which must fit the dataset."""
    system, info = load_system(run, changes)
    model = system.eval().model
    if isinstance(model, LatentWorld):
        model = StatePredictor.of(model, str(run))
    if not isinstance(model, WorldModel):
        raise UserError(f"{run} is of a {type(model).__name__}, which predicts no dynamics")
    embodiment = info.embodiment_of(
        dataset.spec, f"{dataset.path} is of another embodiment than {run}"
    )
    normaliser = embodiment.codec.normaliser
    here = dataset.statistics[STATE]
    moves = normaliser.held(np.asarray(here.min)) | normaliser.held(np.asarray(here.max))
    for number in np.flatnonzero(moves):
        warnings.warn(
            f"state {dataset.spec.state_names[number]} moves here, but was always "
            f"{normaliser.mean[number]:g} in the data of {run}, which predicts nothing of it",
            DatasetWarning,
            stacklevel=2,
        )
    seen = seen_episodes(info.provenance, dataset)
    return _Forecaster(str(run), model, embodiment.codec, seen)


def _forecast(
    forecaster: _Forecaster, setup: _Setup, horizons: Sequence[int], unit: Float[np.ndarray, "s"]
) -> Forecast:
    """The errors of one model, in stds `unit`."""
    names, scale = setup.dataset.spec.state_names, forecaster.codec.normaliser.scale / unit
    # One imagination has too little work for several threads, and threads of several processes
    # wait for each other.
    with threads(1):
        errors = [_errors(forecaster, window, setup.context, scale) for window in setup.windows]
    rows = [_row(errors, steps, names, rewarded=setup.rewarded) for steps in sorted(set(horizons))]
    episodes = setup.episodes
    return Forecast(
        run=forecaster.run,
        windows=len(setup.windows),
        episodes=len(episodes),
        trained_on=_trained_on(forecaster.seen, episodes),
        horizons=tuple(rows),
        calibration=_calibration(forecaster, setup),
    )


def _calibration(forecaster: _Forecaster, setup: _Setup) -> Calibration | None:
    """That of a model which predicts distributions."""
    if not isinstance(forecaster.model, Distributional):
        return None
    names = [*setup.dataset.spec.state_names, *(["reward"] if setup.rewarded else [])]
    transform = _transform(forecaster, setup.windows, setup.context)
    return calibration(transform[:, : len(names)], names)


def _trained_on(seen: np.ndarray | None, episodes: np.ndarray) -> TrainedOn:
    if seen is None:
        return "other data"
    return "these episodes" if np.isin(episodes, seen).any() else "other episodes"


def _errors(
    forecaster: _Forecaster, window: Window, context: int, scale: Float[np.ndarray, "s"]
) -> _Errors:
    """The errors of one prediction. scale: from the model's stds to those of the result."""
    state = forecaster.codec.normaliser.scaled(window.state)
    (predicted, rewards), truth = _imagine(forecaster, window, context), state[context + 1 :]
    return _Errors(
        window.episode,
        np.square((predicted - truth) * scale),
        np.square((state[context] - truth) * scale),
        np.square(rewards - window.reward[context:].numpy()),
    )


def _imagine(
    forecaster: _Forecaster, window: Window, context: int
) -> tuple[np.ndarray, np.ndarray]:
    """States (h, s), normalised, and rewards (h,) that the model predicts after `context` steps of
    a window."""
    state = torch.from_numpy(forecaster.codec.encode_state(window.state[: context + 1]))
    action = torch.from_numpy(forecaster.codec.encode_action(window.action))
    encoded = forecaster.model.encode(state, action[:context], window.reward[:context])
    imagination = encoded.imagine(1, torch.Generator().manual_seed(window.seed))
    observation, reward = step_by_step(imagination, action[None, context:])
    return observation[0].numpy(), reward[0].numpy()


def _transform(
    forecaster: _Forecaster, windows: Sequence[Window], context: int
) -> Float[np.ndarray, "n m"]:
    """The probability integral transform of every step that was predicted, each one step ahead."""
    state = torch.from_numpy(
        np.stack([forecaster.codec.normaliser.scaled(window.state) for window in windows])
    )
    action = torch.from_numpy(
        forecaster.codec.encode_action(np.stack([window.action for window in windows]))
    )
    reward = torch.stack([window.reward for window in windows])
    transforms = []
    for end in range(context + 1, state.shape[1]):
        # The context + 1 actions before step `end`, and the states around each of them.
        past = slice(end - context - 1, end)
        states = state[:, past.start : end + 1]
        transforms.append(forecaster.model.cumulative(states, action[:, past], reward[:, past]))
    return torch.cat(transforms).numpy()


def _row(errors: Sequence[_Errors], steps: int, names: Sequence[str], *, rewarded: bool) -> Horizon:
    """The errors of all windows, so many steps ahead."""
    state = np.array([each.state[steps - 1] for each in errors])
    low, high = _interval(state.mean(axis=1), np.array([each.episode for each in errors]))
    return Horizon(
        steps=steps,
        error=float(state.mean()),
        low=low,
        high=high,
        still=float(np.mean([each.still[steps - 1] for each in errors])),
        reward=float(np.mean([each.reward[steps - 1] for each in errors])) if rewarded else None,
        dimensions=dict(zip(names, state.mean(axis=0).tolist(), strict=True)),
    )


def _interval(values: np.ndarray, episodes: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """A 95 % interval of the mean, resampling episodes with all their windows; none with a single
    episode."""
    unique = np.unique(episodes)
    if len(unique) == 1:
        return None, None
    sums = np.array([values[episodes == each].sum() for each in unique])
    counts = np.array([(episodes == each).sum() for each in unique])
    drawn = np.random.default_rng(0).integers(len(unique), size=(_RESAMPLES, len(unique)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _write(folder: Path, forecasts: Sequence[Forecast], data: str) -> None:
    """Write a record for each run; that of a single run is the whole file."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"data": data} | asdict(forecast) for forecast in forecasts]
    content = records[0] if len(records) == 1 else {"models": records}
    write_atomically(folder / RESULTS, json.dumps(content, indent=1).encode())
    write_chart(folder / CHART, lambda: draw(forecasts))
