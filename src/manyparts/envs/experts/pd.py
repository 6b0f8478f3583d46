"""A proportional-derivative controller: the expert wherever the goal is a place to go."""

from __future__ import annotations

import numpy as np


def pd_action(
    position: np.ndarray,
    velocity: np.ndarray,
    goal: np.ndarray,
    *,
    kp: float = 10.0,
    kd: float = 1.0,
) -> np.ndarray:
    """Acceleration towards the goal, kp (goal - position) - kd velocity, unclipped. All arguments
    (d,)."""
    return kp * (goal - position) - kd * velocity
