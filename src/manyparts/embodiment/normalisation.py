"""States of an embodiment to numbers without unit, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manyparts.core.columns import STATE
from manyparts.embodiment.statistics import ROUNDING, Statistics

_MIN_STD = 1e-3


@dataclass(frozen=True)
class StateNormaliser:
    """States to mean 0 and std 1 a dimension, and back. A std below 1e-3 counts as 1e-3.

    A number that never moved in the data tells no scale, and weights know nothing of it: it is held
    at what it was, whatever it is given as. low, high: (s,), where such numbers are held, infinite
    for all others; empty if there are none.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, statistics: Statistics, dimension: int) -> StateNormaliser:
        """From a dataset's statistics; of no dimension where the dataset has no state."""
        if dimension == 0:
            return cls((), ())
        state = statistics[STATE]
        still = state.still
        if not still.any():
            return cls(state.mean, state.std)
        low, high = np.where(still, state.min, -np.inf), np.where(still, state.max, np.inf)
        return cls(state.mean, state.std, tuple(low.tolist()), tuple(high.tolist()))

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """(..., s) in the simulator's units to float32 (..., s) without unit, as weights are to see
        it."""
        return self.scaled(np.clip(state, self.low, self.high) if self.low else state)

    def scaled(self, state: np.ndarray) -> np.ndarray:
        """As `__call__`, with nothing held: what really happened, for whoever measures errors."""
        return ((state - np.asarray(self.mean)) / self.scale).astype(np.float32)

    def inverse(self, state: np.ndarray) -> np.ndarray:
        """Back to the simulator's units, float32 (..., s)."""
        return (state * self.scale + np.asarray(self.mean)).astype(np.float32)

    def held(self, state: np.ndarray) -> np.ndarray:
        """bool (..., s): numbers of states (..., s) that are held at another value than they
        have."""
        if not self.low:
            return np.zeros(np.shape(state), bool)
        return np.abs(state - np.clip(state, self.low, self.high)) > ROUNDING * np.maximum(
            np.abs(state), 1
        )

    @property
    def scale(self) -> np.ndarray:
        """What a std of 1 is in the simulator's units, (s,)."""
        return np.maximum(np.asarray(self.std), _MIN_STD)
