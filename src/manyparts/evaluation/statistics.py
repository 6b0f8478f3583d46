"""Intervals for success rates and for differences between agents, with few episodes per task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
RESAMPLES = 10_000


@runtime_checkable
class Bounded(Protocol):
    """A mean with the bounds of its interval."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def bounded(estimate: Bounded, *, signed: bool = False) -> str:
    """Mean and bounds for people, such as "0.50 [0.30, 0.70]".

    Args:
        estimate: what is shown.
        signed: show a plus before positive numbers, as differences are shown.
    """
    form = "+.2f" if signed else ".2f"
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    mean: float
    """The estimate."""

    low: float
    """The lower bound."""

    high: float
    """The upper bound."""


def wilson(successes: int | float, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a success rate (Wilson 1927), which is right also at 0 and at 1.

    Args:
        successes: from 0 to `trials`; not whole if it is a mean over tasks times `trials`.
        trials: number of episodes, at least 1.
        confidence: the interval's, between 0 and 1.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return Interval(rate, max(0.0, min(centre - reach, rate)), min(1.0, max(centre + reach, rate)))


def stratified_bootstrap(
    strata: Sequence[np.ndarray],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean over strata of their means, every stratum counting the same, with a percentile
    interval.

    Values are resampled within each stratum, never across (Agarwal et al. 2021, "Deep RL at the
    edge of the statistical precipice").

    Args:
        strata: for each task its episodes' values (n,), or its seeds' scores (n,).
        confidence: the interval's.
        resamples: number of bootstrap samples.
        seed: of the resampling.
    """
    means = _resampled_means(strata, resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(_mean(strata), float(low), float(high))


def mean_success(
    strata: Sequence[np.ndarray], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Mean success over tasks with its stratified bootstrap interval.

    If no task has both successes and failures, the bootstrap would claim certainty. Then the
    interval is Wilson's, of the mean over all episodes.

    Args:
        strata: for each task its successes, bool (n,).
        confidence: the interval's.
        seed: of the resampling.
    """
    if any(np.ptp(np.asarray(stratum, np.int8)) for stratum in strata):
        return stratified_bootstrap(strata, confidence=confidence, seed=seed)
    trials = sum(map(len, strata))
    return wilson(_mean(strata) * trials, trials, confidence)


@dataclass(frozen=True)
class Difference:
    """How much A is above B."""

    mean: float
    """The estimate of A - B."""

    low: float
    """The lower bound of its confidence interval."""

    high: float
    """The upper bound."""

    probability: float
    """Probability that A is the better one; 0.5 if nothing indicates either."""


def difference(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Difference:
    """The mean over tasks of A's mean minus B's, paired by task.

    Args:
        a: for each task A's values (n,).
        b: the same of B, for the same tasks in the same order.
        confidence: the interval's.
        seed: of the resampling.

    Raises:
        ValueError: the numbers of tasks differ.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tasks against {len(b)}")
    differences = _resampled_means(a, RESAMPLES, seed) - _resampled_means(b, RESAMPLES, seed + 1)
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    probability = float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
    return Difference(_mean(a) - _mean(b), float(low), float(high), probability)


def difference_of_success(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Difference:
    """`difference` for successes.

    If the bootstrap would claim certainty for both A and B, the bounds are combined from the two
    intervals (Newcombe 1998, method 10).

    Args:
        a: for each task A's successes, bool (n,).
        b: the same of B, for the same tasks in the same order.

    Raises:
        ValueError: the numbers of tasks differ.
    """
    resampled = difference(a, b)
    if resampled.low < resampled.high:
        return resampled
    low, high = _newcombe(resampled.mean, mean_success(a), mean_success(b))
    return Difference(resampled.mean, low, high, resampled.probability)


def probability_of_improvement(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """The probability that a run of A beats a run of B on a task drawn at random, ties counting
    half (Agarwal et al. 2021).

    Args:
        a: for each task the scores (n,) of A's runs.
        b: for the same tasks the scores (m,) of B's runs.
    """
    wins = [np.sign(np.subtract.outer(of_a, of_b)) for of_a, of_b in zip(a, b, strict=True)]
    return float(np.mean([(win.mean() + 1) / 2 for win in wins]))


def mean_over_seeds(
    values: np.ndarray, *, confidence: float = CONFIDENCE, successes: bool | None = None
) -> Interval:
    """A method's mean over tasks and training seeds, with Student's interval.

    A seed is one agent, so that the seeds' means over tasks are the sample. A bootstrap of so few
    values covers the truth too rarely (with three seeds that differ, in 81 % of the cases). With
    one seed the interval is over episodes alone. If no value varies, it would claim certainty; for
    successes it is then Wilson's, over all episodes.

    Args:
        values: of every episode (tasks, seeds, episodes), successes or numbers.
        confidence: the interval's.
        successes: whether they are successes, which lie between 0 and 1; None: if all are 0 or 1.
    """
    sample = _sample_of_seeds(values)
    if successes is None:
        successes = _are_successes(values)
    if not sample.variance and successes:
        return wilson(float(np.sum(values)), values.size, confidence)
    reach = _reach(sample, confidence)
    low, high = sample.mean - reach, sample.mean + reach
    if successes:
        low, high = max(low, 0.0), min(high, 1.0)
    return Interval(sample.mean, low, high)


def difference_over_seeds(
    a: np.ndarray,
    b: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    successes: bool | None = None,
) -> Difference:
    """The mean of method A minus that of B, on the same tasks, with Welch's interval (Welch 1947)
    as in `mean_over_seeds`.

    If no value varies, the bounds are combined from the two intervals.

    Args:
        a: A's values (tasks, seeds, episodes).
        b: B's values; the number of seeds may be another one.
        confidence: the interval's.
        successes: see `mean_over_seeds`.

    Raises:
        ValueError: the numbers of tasks differ.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tasks against {len(b)}")
    sample_a, sample_b = _sample_of_seeds(a), _sample_of_seeds(b)
    mean, variance = sample_a.mean - sample_b.mean, sample_a.variance + sample_b.variance
    if not variance:
        alone = [
            mean_over_seeds(each, confidence=confidence, successes=successes) for each in (a, b)
        ]
        low, high = _newcombe(mean, *alone)
        return Difference(mean, low, high, float(np.sign(mean) + 1) / 2)
    # Degrees of freedom by Welch and Satterthwaite.
    freedom = variance**2 / sum(each.variance**2 / each.freedom for each in (sample_a, sample_b))
    reach = _reach(_Sample(mean, variance, freedom), confidence)
    probability = float(stdtr(freedom, mean / math.sqrt(variance)))
    return Difference(mean, mean - reach, mean + reach, probability)


def improvement(
    a: np.ndarray,
    b: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """`probability_of_improvement` of method A over B with its interval, over seeds resampled for
    all tasks together.

    Args:
        a: scores (tasks, seeds) of A's runs.
        b: scores of B's runs; the number of seeds may be another one.
        confidence: the interval's.
        resamples: number of bootstrap samples.
        seed: of the resampling.
    """
    generator = np.random.default_rng(seed)
    # (tasks, resamples, seeds) of each method: a resample draws the same seeds for all tasks.
    drawn_a, drawn_b = (
        each[:, generator.integers(each.shape[1], size=(resamples, each.shape[1]))]
        for each in (a, b)
    )
    wins = (np.sign(drawn_a[..., :, None] - drawn_b[..., None, :]) + 1) / 2
    low, high = np.quantile(wins.mean(axis=(0, 2, 3)), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(probability_of_improvement(list(a), list(b)), float(low), float(high))


@dataclass(frozen=True)
class _Sample:
    """A mean, the estimate of its variance, and the degrees of freedom of that estimate."""

    mean: float
    variance: float
    freedom: float


def _sample_of_seeds(values: np.ndarray) -> _Sample:
    """The sample of values (tasks, seeds, episodes).

    The variance is never below that of the episodes alone, since seeds may agree by chance.
    """
    tasks, seeds, episodes = np.shape(values)
    values = np.asarray(values, np.float64)
    within = 0.0
    if episodes > 1:
        within = float(values.var(axis=2, ddof=1).mean()) / (tasks * seeds * episodes)
    if seeds == 1:
        return _Sample(float(values.mean()), within, max(tasks * (episodes - 1), 1))
    means = values.mean(axis=(0, 2))
    # Equal means have a variance of exactly 0, without any error of rounding.
    between = float(means.var(ddof=1)) / seeds if np.ptp(means) else 0.0
    return _Sample(float(values.mean()), max(between, within), seeds - 1)


def _reach(sample: _Sample, confidence: float) -> float:
    """Half the width of the interval."""
    return float(stdtrit(sample.freedom, (1 + confidence) / 2)) * math.sqrt(sample.variance)


def _are_successes(values: np.ndarray) -> bool:
    return bool(np.isin(values, (0, 1)).all())


def _newcombe(mean: float, a: Interval, b: Interval) -> tuple[float, float]:
    """Bounds of a difference from two independent intervals (Newcombe 1998, method 10)."""
    low = mean - math.hypot(a.mean - a.low, b.high - b.mean)
    return low, mean + math.hypot(a.high - a.mean, b.mean - b.low)


def _mean(strata: Sequence[np.ndarray]) -> float:
    return float(np.mean([np.mean(stratum) for stratum in strata]))


def _resampled_means(strata: Sequence[np.ndarray], resamples: int, seed: int) -> np.ndarray:
    """(resamples,) means over strata of the means of their values drawn with replacement."""
    generator = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for stratum in strata:
        values = np.asarray(stratum, np.float64)
        total += values[generator.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    return total / len(strata)
