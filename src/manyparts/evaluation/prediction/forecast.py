"""What a prediction is: errors of one run's model by steps ahead, and windows imagined beside what
happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from manyparts.evaluation.prediction.calibration import Calibration

TrainedOn = Literal["other data", "other episodes", "these episodes"]


@dataclass(frozen=True)
class Horizon:
    """So many steps ahead. error: mean square error of the state in its training data's stds, low
    to high: a 95 % bootstrap interval over episodes, None of a single one. still: the same of
    predicting that nothing changes. reward: mean square error of the reward, None where the dataset
    has no rewards. dimensions: error of each."""

    steps: int
    error: float
    low: float | None
    high: float | None
    still: float
    reward: float | None
    dimensions: dict[str, float]


@dataclass(frozen=True)
class Forecast:
    """What one run's model predicts. episodes: so many were predicted. trained_on: what the model
    has learned from: other datasets, other episodes of this one, or some of the very episodes that
    are predicted. calibration: one step ahead; None if the model tells no distribution."""

    run: str
    windows: int
    episodes: int
    trained_on: TrainedOn
    horizons: tuple[Horizon, ...]
    calibration: Calibration | None


@dataclass(frozen=True)
class Imagined:
    """One window. episode, first: where in the dataset it begins. seen: so many of its actions, and
    what came of them, the models were told.

    state (t, s) and reward (t - 1,) are what happened, in the simulator's units; reward is NaN
    where the dataset has none. imagined: by the models' names, states (t - 1 - seen, s) from step
    seen + 1 on, and rewards (t - 1 - seen,) from step seen on.
    """

    episode: int
    first: int
    seen: int
    state: Float[np.ndarray, "t s"]
    reward: Float[np.ndarray, "u"]
    imagined: dict[str, tuple[np.ndarray, np.ndarray]]


def labels(runs: Sequence[str]) -> list[str]:
    """What runs are called in a table or a legend: their folders; where these are the same, what is
    between the parts of their paths that all begin and end with; the whole paths where that does
    not tell them apart."""
    parts = [Path(run).parts for run in runs]
    begin, end = (_alike([each[::turn] for each in parts]) for turn in (1, -1))
    for names in ([each[-1:] for each in parts], [each[begin : len(each) - end] for each in parts]):
        if all(names) and len(set(names)) == len(names):
            return ["/".join(name) for name in names]
    return list(runs)


def _alike(parts: Sequence[Sequence[str]]) -> int:
    """How many parts all begin with."""
    return next(
        (place for place, found in enumerate(zip(*parts, strict=False)) if len(set(found)) > 1),
        min(map(len, parts)),
    )
