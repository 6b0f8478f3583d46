"""Records of predictions: errors of one run's model by steps ahead, and imagined windows next to
the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from manyparts.evaluation.prediction.calibration import Calibration

TrainedOn = Literal["other data", "other episodes", "these episodes", "its own episodes"]
"""What a model was trained on, compared with the predicted episodes; its own episodes are those
that its agent played while it learned."""


@dataclass(frozen=True)
class ImageError:
    """Errors of predicted images: mean squares over pixels with values from 0 to 1."""

    error: float
    """The model's."""

    low: float | None
    """Lower bound of its 95 % bootstrap interval over episodes; None with a single episode."""

    high: float | None
    """Upper bound of this interval."""

    still: float
    """Error of predicting that nothing changes."""


@dataclass(frozen=True)
class Horizon:
    """Errors of predictions so many steps ahead."""

    steps: int
    """Steps ahead."""

    error: float | None
    """Mean square error of the state, in stds of the training data; None if the model predicts
    images alone."""

    low: float | None
    """Lower bound of its 95 % bootstrap interval over episodes; None with a single episode."""

    high: float | None
    """Upper bound of this interval."""

    still: float | None
    """Error of predicting that nothing changes."""

    reward: float | None
    """Mean square error of the reward; None if the dataset has no rewards."""

    dimensions: dict[str, float]
    """Error of each dimension of the state, by its name."""

    image: ImageError | None = None
    """Errors of images; None if the model predicts none."""


@dataclass(frozen=True)
class Forecast:
    """How well one run's model predicts."""

    run: str
    """The run or checkpoint folder."""

    windows: int
    """Number of predictions."""

    episodes: int
    """Number of episodes that were predicted."""

    trained_on: TrainedOn
    """Whether the model was trained on other datasets, on other episodes of this one, on some of
    the predicted episodes, or on what its agent did itself."""

    horizons: tuple[Horizon, ...]
    """Errors by steps ahead."""

    calibration: Calibration | None
    """Calibration one step ahead; None if the model predicts no distribution."""


@dataclass(frozen=True)
class Imagined:
    """One real window of t states, and what models imagined of it."""

    episode: int
    """Index of its episode in the dataset."""

    first: int
    """Its first frame in the episode."""

    context: int
    """Number of its first actions, with their results, that the models get as context."""

    state: Float[np.ndarray, "t s"]
    """Real states, in the simulator's units."""

    reward: Float[np.ndarray, "u"]
    """Real rewards of the t - 1 actions; NaN if the dataset has none."""

    imagined: dict[str, tuple[np.ndarray, np.ndarray]]
    """By the models' names, states (t - 1 - context, s) from step context + 1 on, of which s is 0
    for a model of images alone, and rewards (t - 1 - context,) from step context on."""

    images: dict[str, np.ndarray] = field(default_factory=dict)
    """Camera to its real images, uint8 (t, h, w, 3), if a model predicts images."""

    drawn: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """By the names of models that predict images, camera to what the model drew of each of the t
    steps, also of those that it saw."""


def labels(runs: Sequence[str]) -> list[str]:
    """Short names of runs for a table or a legend.

    They are the last parts of the paths; if these are equal, the parts between the common beginning
    and the common end of all paths; the whole paths if these are equal, too, or empty.
    """
    parts = [Path(run).parts for run in runs]
    begin = _common(parts)
    end = _common([each[::-1] for each in parts])
    last = [each[-1:] for each in parts]
    between = [each[begin : len(each) - end] for each in parts]
    for names in (last, between):
        if all(names) and len(set(names)) == len(names):
            return ["/".join(name) for name in names]
    return list(runs)


def _common(paths: Sequence[Sequence[str]]) -> int:
    """The number of first parts that all paths have in common."""
    for index, parts in enumerate(zip(*paths, strict=False)):
        if len(set(parts)) > 1:
            return index
    return min(map(len, paths))
