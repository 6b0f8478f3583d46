"""Whether actions stand in the row whose state they move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OLDEST, NEWEST = -5, 4
_ROWS = 200
_COUNTS = 0.15  # of the strongest action's share: an action that has so much is taken to matter
_CLEAR = 0.5  # of that: what the newest action may explain; experts answer to what moved, so later ones tell of it too


def response_lag(episodes: Sequence[tuple[np.ndarray, ...]]) -> int | None:
    """The newest action that the state's next step answers to, counted from its row: 0, or -1 where
    the robot answers a step late; 1 or more says that actions stand too late, and less than -1 too
    early.

    episodes: states (T, s) and actions (T, a). What moves the state from t to t + 1 is predicted
    linearly from the actions at t - 5, t - 4 and so on, one more at a time; an action matters if it
    explains what the older ones left. A delay of one step and a shift of one step cannot be told
    apart. None where actions explain little, or where those long after the step explain nearly as
    much as those before it, as they do in few demonstrations.
    """
    long_enough = [
        (state, action) for state, action in episodes if len(action) > NEWEST - OLDEST + 2
    ]
    if not long_enough:
        return None
    moved, acted = [], {lag: [] for lag in range(OLDEST, NEWEST + 1)}
    for state, action in long_enough:
        rows = np.arange(-OLDEST, len(action) - NEWEST - 1)
        moved.append(state[rows + 1] - state[rows])
        for lag in acted:
            acted[lag].append(action[rows + lag])
    step = np.concatenate(moved).astype(np.float64)
    step = step[:, step.std(axis=0) > 1e-9]
    if not step.shape[1] or len(step) < _ROWS:
        return None
    step = (step - step.mean(axis=0)) / step.std(axis=0)
    explained, columns, gains = 0.0, [np.ones((len(step), 1))], {}
    for lag, actions in acted.items():
        columns.append(np.concatenate(actions).astype(np.float64))
        joined = np.concatenate(columns, axis=1)
        weights, *_ = np.linalg.lstsq(joined, step, rcond=None)
        now = 1 - float(((step - joined @ weights) ** 2).mean())
        gains[lag] = (now - explained) / max(1 - explained, 1e-9)
        explained = now
    newer = {lag: gain for lag, gain in gains.items() if lag > OLDEST}
    strongest = max(newer.values())
    if explained < 0.2 or strongest < 0.02 or newer[NEWEST] > _CLEAR * _COUNTS * strongest:
        return None
    return max(lag for lag, gain in newer.items() if gain > _COUNTS * strongest)
