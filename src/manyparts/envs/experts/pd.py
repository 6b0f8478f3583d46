"""A proportional-derivative controller: the expert where the goal is a position."""

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
    """Acceleration towards the goal, kp (goal - position) - kd velocity, unclipped.

    Args:
        position: metres, (d,).
        velocity: metres per second, (d,).
        goal: metres, (d,).
        kp: proportional gain, per second squared.
        kd: derivative gain, per second.
    """
    return kp * (goal - position) - kd * velocity
