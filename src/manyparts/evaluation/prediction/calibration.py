"""Whether predicted distributions are right: how often true values lie within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities of the central intervals that are checked."""

QUANTILES = np.arange(1, 100) / 100
"""0.01 to 0.99."""


@dataclass(frozen=True)
class Coverage:
    """How well the predicted distributions of one number cover its true values."""

    within: tuple[float, ...]
    """Fraction of true values inside the central predictive interval of each of `LEVELS`."""

    error: float
    """Expected calibration error: the mean over `QUANTILES` of |fraction of true values below the
    predicted quantile - quantile| (after Kuleshov et al. 2018, arXiv 1807.00263)."""


@dataclass(frozen=True)
class Calibration:
    """Calibration of predictions one step ahead."""

    steps: int
    """Number of predicted steps."""

    overall: Coverage
    """Means over all numbers."""

    numbers: dict[str, Coverage]
    """Coverage of each number, by its name."""

    shares: tuple[float, ...]
    """Fraction of the true values of all numbers below each of `QUANTILES`."""


def calibration(transform: Float[np.ndarray, "n m"], names: Sequence[str]) -> Calibration:
    """The calibration of predicted distributions.

    Args:
        transform: the probability integral transform of m numbers at n steps: the predicted
            probability of all values up to the true one.
        names: of the m numbers.
    """
    coverages = [_coverage(values) for values in transform.T]
    within = np.mean([each.within for each in coverages], axis=0)
    error = np.mean([each.error for each in coverages])
    return Calibration(
        steps=len(transform),
        overall=Coverage(tuple(within.tolist()), float(error)),
        numbers=dict(zip(names, coverages, strict=True)),
        shares=tuple(_fractions(transform.ravel()).tolist()),
    )


def _coverage(values: Float[np.ndarray, "n"]) -> Coverage:
    off_centre = np.abs(2 * values - 1)
    within = tuple(float(np.mean(off_centre <= level)) for level in LEVELS)
    return Coverage(within, float(np.abs(_fractions(values) - QUANTILES).mean()))


def _fractions(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "q"]:
    """The fraction of values up to each of `QUANTILES`."""
    return np.searchsorted(np.sort(values), QUANTILES, side="right") / len(values)
