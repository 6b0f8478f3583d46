"""How well dynamics models predict: their own predictions fed back, under the actions that were
really taken."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from manyparts.core.arguments import path_of, whole
from manyparts.core.devices import threads
from manyparts.core.errors import UserError
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.dataset import EpisodeDataset
from manyparts.evaluation.prediction.calibration import Calibration, calibration
from manyparts.evaluation.prediction.chart import draw, write_chart
from manyparts.evaluation.prediction.forecast import (
    Forecast,
    Horizon,
    ImageError,
    Imagined,
    TrainedOn,
    labels,
)
from manyparts.evaluation.prediction.forecasters import Forecaster
from manyparts.evaluation.prediction.windows import Window, draw_windows
from manyparts.evaluation.viewed_data import as_learned
from manyparts.models.checkpoint import load_info, resolve
from manyparts.models.dynamics.distributional import Distributional

HORIZONS = (1, 5, 10, 25, 50)
RESULTS, CHART = "prediction.json", "prediction.svg"
_RESAMPLES = 2000


@dataclass(frozen=True)
class _Errors:
    """Squared errors of one prediction at each of h steps: of the model's states (h, s), of
    standing still (h, s), of the rewards (h,), and the means over pixels of the model's images (h,)
    and of standing still (h,); the last two are empty if it predicts no images."""

    episode: int
    state: np.ndarray
    still: np.ndarray
    reward: np.ndarray
    image: np.ndarray
    still_image: np.ndarray


@dataclass(frozen=True)
class _Setup:
    """Models, and windows of a dataset in which each predicts after `context` steps.

    Attributes:
        rewarded: whether the dataset has rewards.
    """

    dataset: EpisodeDataset
    forecasters: list[Forecaster]
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
    seen: int | None = None,
) -> list[Forecast]:
    """Measure the predictions of dynamics models or latent worlds, all on the same windows of a
    dataset.

    If a model was trained on the dataset, only episodes are predicted that all models held out; if
    none of these is long enough, any episode is (see `Forecast.trained_on`). Errors of all models
    are in stds of the first run's training data. If the dataset has no rewards, the models get
    rewards of 0.

    Args:
        runs: run or checkpoint folders of dynamics models, or a single one.
        data: a dataset, or its folder.
        horizons: steps ahead.
        windows: number of predictions, spread over the episodes.
        seed: of where windows begin, and of what models draw.
        output: folder for prediction.json and prediction.svg; None: nothing is written.
        changes: of settings, for the models that have them; see `load_system`.
        seen: observations that all models get before they predict; None: as many as the model with
            the longest context takes, which is 5 for a latent world.

    Returns:
        One forecast per run.

    Raises:
        UserError: a run is of no dynamics model, the dataset does not fit it or is not finite, or
            its episodes are too short.
    """
    if not horizons or min(horizons) < 1:
        raise UserError(f"horizons {tuple(horizons)}; expected at least 1 each")
    setup = _prepare(runs, data, max(horizons), windows, seed, changes, seen)
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
    seen: int | None = None,
) -> list[Imagined]:
    """Windows drawn as those of `open_loop`, and what its models imagine of them.

    Of more windows than a dataset has episodes, all episodes take part in their order; of fewer,
    some are drawn. So these need not be among the windows that a measurement of more was made on.

    Args:
        runs: as in `open_loop`.
        data: as in `open_loop`.
        horizon: steps that are imagined.
        windows: number of windows.
        seed: as in `open_loop`.
        changes: as in `open_loop`.
        seen: as in `open_loop`.

    Returns:
        One record per window. Its rewards are NaN if the dataset has none.

    Raises:
        UserError: see `open_loop`.
    """
    setup = _prepare(runs, data, horizon, windows, seed, changes, seen)
    names = labels([each.run for each in setup.forecasters])
    results = []
    for window in setup.windows:
        imagined, drawn = {}, {}
        for name, forecaster in zip(names, setup.forecasters, strict=True):
            with threads(1):
                foreseen = forecaster.foresee(window, setup.context)
            states = foreseen.state
            if forecaster.predicts_states:
                states = forecaster.codec.decode_state(states)
            imagined[name] = (states, foreseen.reward)
            if foreseen.images:
                drawn[name] = foreseen.images
        reward = np.full(len(window.reward), np.nan, np.float32)
        if setup.rewarded:
            reward = window.reward.numpy()
        results.append(
            Imagined(
                episode=window.episode,
                first=window.first,
                context=setup.context,
                state=window.state,
                reward=reward,
                imagined=imagined,
                images=window.images,
                drawn=drawn,
            )
        )
    return results


def _prepare(
    runs: str | Path | Sequence[str | Path],
    data: str | Path | EpisodeDataset,
    horizon: int,
    windows: int,
    seed: int,
    changes: Mapping[str, Any] | None,
    seen: int | None,
) -> _Setup:
    """Load the models, and draw the windows."""
    paths = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    windows, seed = whole("windows", windows), whole("seed", seed)
    if seen is not None:
        seen = whole("seen", seen, minimum=1)
    if windows < 1 or not paths:
        raise UserError(
            f"{windows} windows and {len(paths)} runs to predict with; expected at least 1 each"
        )
    dataset = as_learned(data, *paths)
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
        forecasters.append(Forecaster.load(path, dataset, own))
    context = (seen or max(each.usually_seen for each in forecasters)) - 1
    learned = [each.seen for each in forecasters if each.seen is not None]
    avoided = np.unique(np.concatenate(learned or [[]]))
    cameras = sorted({camera for each in forecasters for camera in each.cameras})
    drawn = list(draw_windows(dataset, avoided, context, horizon, windows, seed, cameras))
    return _Setup(dataset, forecasters, context, drawn, dataset.has_rewards)


def _forecast(
    forecaster: Forecaster, setup: _Setup, horizons: Sequence[int], unit: Float[np.ndarray, "s"]
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
        trained_on=_trained_on(forecaster, episodes),
        horizons=tuple(rows),
        calibration=_calibration(forecaster, setup),
    )


def _calibration(forecaster: Forecaster, setup: _Setup) -> Calibration | None:
    """That of a model which predicts distributions."""
    if not isinstance(forecaster.model, Distributional):
        return None
    names = [*setup.dataset.spec.state_names, *(["reward"] if setup.rewarded else [])]
    transform = _transform(forecaster, setup.windows, setup.context)
    return calibration(transform[:, : len(names)], names)


def _trained_on(forecaster: Forecaster, episodes: np.ndarray) -> TrainedOn:
    if forecaster.seen is None:
        return "its own episodes" if forecaster.learned_by_acting else "other data"
    return "these episodes" if np.isin(episodes, forecaster.seen).any() else "other episodes"


def _errors(
    forecaster: Forecaster, window: Window, context: int, scale: Float[np.ndarray, "s"]
) -> _Errors:
    """The errors of one prediction. scale: from the model's stds to those of the result."""
    predicted = forecaster.foresee(window, context)
    state, truth = predicted.state[:, :0], predicted.state[:, :0]
    still = truth
    if forecaster.predicts_states:
        real = forecaster.codec.normaliser.scaled(window.state)
        state, truth, still = predicted.state * scale, real[context + 1 :] * scale, real[context]
        still = still * scale
    image, still_image = _image_errors(predicted.images, window.images, context)
    return _Errors(
        window.episode,
        np.square(state - truth),
        np.square(still - truth),
        np.square(predicted.reward - window.reward[context:].numpy()),
        image,
        still_image,
    )


def _image_errors(
    drawn: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray], context: int
) -> tuple[Float[np.ndarray, "h"], Float[np.ndarray, "h"]]:
    """The mean squared errors of the pixels of all cameras, from 0 to 1: of the images that a model
    drew, and of the last one that it saw. Empty without images."""
    errors, still, pixels = [], [], []
    for camera, frames in drawn.items():
        truth = real[camera].astype(np.float32) / 255
        ahead = truth[context + 1 :]
        predicted = frames[context + 1 :].astype(np.float32) / 255
        errors.append(np.square(predicted - ahead).mean(axis=(1, 2, 3)))
        still.append(np.square(truth[context] - ahead).mean(axis=(1, 2, 3)))
        pixels.append(truth[0].size)
    if not errors:
        return np.zeros(0), np.zeros(0)
    return np.average(errors, axis=0, weights=pixels), np.average(still, axis=0, weights=pixels)


def _transform(
    forecaster: Forecaster, windows: Sequence[Window], context: int
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
    episodes = np.array([each.episode for each in errors])
    state = np.array([each.state[steps - 1] for each in errors])
    error, low, high, still, dimensions = None, None, None, None, {}
    if state.shape[1]:
        error = float(state.mean())
        low, high = _interval(state.mean(axis=1), episodes)
        still = float(np.mean([each.still[steps - 1] for each in errors]))
        dimensions = dict(zip(names, state.mean(axis=0).tolist(), strict=True))
    image = None
    if errors[0].image.size:
        of_windows = np.array([each.image[steps - 1] for each in errors])
        unchanged = np.mean([each.still_image[steps - 1] for each in errors])
        image = ImageError(
            float(of_windows.mean()), *_interval(of_windows, episodes), float(unchanged)
        )
    return Horizon(
        steps=steps,
        error=error,
        low=low,
        high=high,
        still=still,
        reward=float(np.mean([each.reward[steps - 1] for each in errors])) if rewarded else None,
        dimensions=dimensions,
        image=image,
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
