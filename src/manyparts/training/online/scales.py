"""The scales by which an online run normalises states, which must be fixed before it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from manyparts.core.columns import STATE
from manyparts.embodiment.statistics import FeatureStatistics, RunningStatistics, Statistics

# A number that hardly moved under random actions may move much once the agent can act. Its scale is
# at least this part of the largest one.
_MIN_PART_OF_SCALE = 0.05


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
    scale = np.maximum(std, _MIN_PART_OF_SCALE * max(float(std.max(initial=0.0)), 1e-3))
    mean = np.asarray(found.mean)
    wide = FeatureStatistics(
        count=found.count,
        min=tuple(np.minimum(found.min, mean - scale).tolist()),
        max=tuple(np.maximum(found.max, mean + scale).tolist()),
        mean=found.mean,
        std=tuple(scale.tolist()),
    )
    return Statistics({STATE: wide})
