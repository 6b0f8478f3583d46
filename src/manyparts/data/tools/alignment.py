"""Find out how many steps after an action the state responds to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OLDEST, NEWEST = -5, 4  # steps from the row with the state that moves
_MIN_ROWS = 200
_MATTERS = 0.15  # fraction of the strongest gain: actions with more are taken to have an effect
# Fraction of that: what the newest action may explain. Experts react to what moved, so that later
# actions correlate with it, too.
_CLEAR = 0.5


def response_lag(episodes: Sequence[tuple[np.ndarray, np.ndarray]]) -> int | None:
    """The newest action that moves the state from its row to the next.

    The step of the state from t to t + 1 is predicted linearly from the actions at t - 5, t - 4 and
    so on, adding one at a time. An action has an effect if it explains what the older ones do not.

    Args:
        episodes: states (T, s) and actions (T, a).

    Returns:
        The action's row minus t: 0, or -1 where the robot responds a step late. 1 or more means
        that actions are stored too late, less than -1 too early; a delay and a shift of one step
        cannot be distinguished. None where actions explain little, or where those long after the
        step explain nearly as much as those before it, as in few demonstrations.
    """
    long_enough = [
        (state, action) for state, action in episodes if len(action) > NEWEST - OLDEST + 2
    ]
    if not long_enough:
        return None
    state_steps, actions_at = [], {lag: [] for lag in range(OLDEST, NEWEST + 1)}
    for state, action in long_enough:
        rows = np.arange(-OLDEST, len(action) - NEWEST - 1)
        state_steps.append(state[rows + 1] - state[rows])
        for lag in actions_at:
            actions_at[lag].append(action[rows + lag])
    step = np.concatenate(state_steps).astype(np.float64)
    step = step[:, step.std(axis=0) > 1e-9]
    if not step.shape[1] or len(step) < _MIN_ROWS:
        return None
    step = (step - step.mean(axis=0)) / step.std(axis=0)
    # gains: the fraction of the variance left by older actions that each lag explains.
    explained, columns, gains = 0.0, [np.ones((len(step), 1))], {}
    for lag, actions in actions_at.items():
        columns.append(np.concatenate(actions).astype(np.float64))
        inputs = np.concatenate(columns, axis=1)
        weights, *_ = np.linalg.lstsq(inputs, step, rcond=None)
        r_squared = 1 - float(((step - inputs @ weights) ** 2).mean())
        gains[lag] = (r_squared - explained) / max(1 - explained, 1e-9)
        explained = r_squared
    newer = {lag: gain for lag, gain in gains.items() if lag > OLDEST}
    strongest = max(newer.values())
    if explained < 0.2 or strongest < 0.02 or newer[NEWEST] > _CLEAR * _MATTERS * strongest:
        return None
    return max(lag for lag, gain in newer.items() if gain > _MATTERS * strongest)
