"""Normalisation of an embodiment's states, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from manyparts.core.arrays import clipped, fixed_array
from manyparts.core.columns import STATE
from manyparts.embodiment.statistics import ROUNDING, Statistics

_MIN_STD = 1e-3


@dataclass(frozen=True)
class StateNormaliser:
    """Normalises states to mean 0 and std 1 per dimension. A std below 1e-3 counts as 1e-3.

    A number that never moved in the data has no scale, and a model learned nothing of it. It is
    held at the value that it had there, whatever a state has.
    """

    mean: tuple[float, ...]
    """The mean of each of the s numbers of a state, in the simulator's units."""

    std: tuple[float, ...]
    """The std of each number."""

    low: tuple[float, ...] = ()
    """The lowest value of each number that is held, -inf for all others; empty if none are."""

    high: tuple[float, ...] = ()
    """The highest value of each number that is held, inf for all others; empty if none are."""

    @classmethod
    def of(cls, statistics: Statistics, dimension: int) -> StateNormaliser:
        """The normaliser of a dataset's states.

        Args:
            statistics: of the dataset; those of the state are used.
            dimension: how many numbers a state has; 0 if the dataset has no state.
        """
        if dimension == 0:
            return cls((), ())
        state = statistics[STATE]
        still = state.still
        if not still.any():
            return cls(state.mean, state.std)
        low, high = np.where(still, state.min, -np.inf), np.where(still, state.max, np.inf)
        return cls(state.mean, state.std, tuple(low.tolist()), tuple(high.tolist()))

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """States (..., s) in the simulator's units as float32 (..., s) for a model."""
        return self.scaled(self._clipped(state) if self.low else state)

    def scaled(self, state: np.ndarray) -> np.ndarray:
        """As `__call__`, without holding numbers, so that errors of predictions can be measured."""
        return ((state - self._mean) / self.scale).astype(np.float32)

    def inverse(self, state: np.ndarray) -> np.ndarray:
        """Back to the simulator's units, float32 (..., s)."""
        return (state * self.scale + self._mean).astype(np.float32)

    def held(self, state: np.ndarray) -> np.ndarray:
        """bool (..., s): the numbers of states (..., s) that are held at another value than they
        have."""
        if not self.low:
            return np.zeros(np.shape(state), bool)
        change = np.abs(state - self._clipped(state))
        return change > ROUNDING * np.maximum(np.abs(state), 1)

    @cached_property
    def scale(self) -> np.ndarray:
        """The stds by which states are divided, (s,), in the simulator's units; read-only."""
        return fixed_array(np.maximum(np.asarray(self.std), _MIN_STD))

    # Arrays are made once: an agent normalises one state per decision.
    @cached_property
    def _mean(self) -> np.ndarray:
        return fixed_array(self.mean)

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return fixed_array(self.low), fixed_array(self.high)

    def _clipped(self, state: np.ndarray) -> np.ndarray:
        return clipped(state, *self._bounds)
