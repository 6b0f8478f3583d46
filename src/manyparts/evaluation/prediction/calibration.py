"""Whether predicted distributions are right: how often what came lies within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEVELS = (0.5, 0.8, 0.9, 0.95)
QUANTILES = np.arange(1, 100) / 100


@dataclass(frozen=True)
class Coverage:
    """within: the share of true values inside the central predictive interval of each of `LEVELS`.
    error: the expected calibration error, the mean over the quantiles .01 to .99 of |share of true
    values below the predicted quantile - quantile| (after Kuleshov et al. 2018, arXiv
    1807.00263)."""

    within: tuple[float, ...]
    error: float


@dataclass(frozen=True)
class Calibration:
    """One step ahead. steps: how many, of which each has all numbers. overall: means over numbers.
    shares: of true values of all numbers below each of `QUANTILES`."""

    steps: int
    overall: Coverage
    numbers: dict[str, Coverage]
    shares: tuple[float, ...]


def calibration(transform: Float[np.ndarray, "n m"], names: Sequence[str]) -> Calibration:
    """From the probability integral transform of n steps' numbers: what probability was given to
    values up to the true one. names: of the m numbers."""
    found = [_coverage(values) for values in transform.T]
    within = np.mean([each.within for each in found], axis=0)
    return Calibration(
        steps=len(transform),
        overall=Coverage(tuple(within.tolist()), float(np.mean([each.error for each in found]))),
        numbers=dict(zip(names, found, strict=True)),
        shares=tuple(_shares(transform.ravel()).tolist()),
    )


def _coverage(values: Float[np.ndarray, "n"]) -> Coverage:
    off_centre = np.abs(2 * values - 1)
    within = tuple(float(np.mean(off_centre <= level)) for level in LEVELS)
    return Coverage(within, float(np.abs(_shares(values) - QUANTILES).mean()))


def _shares(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "q"]:
    """Of values up to each of `QUANTILES`."""
    return np.searchsorted(np.sort(values), QUANTILES, side="right") / len(values)
