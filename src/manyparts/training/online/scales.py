"""The scales by which an online run normalises states, which must be fixed before it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from manyparts.core.columns import STATE
from manyparts.embodiment.statistics import FeatureStatistics, RunningStatistics, Statistics

# A number that hardly moved under random actions may move much once the agent can act, such as a
# door. Its scale is at least this part of the median of those that moved.
_MIN_PART_OF_SCALE = 0.5
_MIN_STD = 1e-3  # below it, a number did not move


def scales_of(states: Sequence[np.ndarray]) -> Statistics:
    """Statistics of the first episodes, with a scale for numbers that hardly moved in them.

    Args:
        states: (t, s) of each episode, in the simulator's units.
    """
    running = RunningStatistics(states[0].shape[1])
    for each in states:
        running.update(each)
    found = running.finish()
    std = np.asarray(found.std)
    moved = std[std > _MIN_STD]
    usual = float(np.median(moved)) if len(moved) else _MIN_STD
    scale = np.maximum(std, _MIN_PART_OF_SCALE * usual)
    mean = np.asarray(found.mean)
    wide = FeatureStatistics(
        count=found.count,
        min=tuple(np.minimum(found.min, mean - scale).tolist()),
        max=tuple(np.maximum(found.max, mean + scale).tolist()),
        mean=found.mean,
        std=tuple(scale.tolist()),
    )
    return Statistics({STATE: wide})
