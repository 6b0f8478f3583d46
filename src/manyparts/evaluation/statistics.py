"""Intervals for success rates and for differences between agents, with few episodes a task."""

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
    """Mean and bounds for people, such as "0.50 [0.30, 0.70]"; signed: with a plus, as differences
    are shown."""
    form = "+.2f" if signed else ".2f"
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


def wilson(successes: int | float, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a success rate (Wilson 1927), honest at 0 and at 1. Raises
    ValueError for 0 trials."""
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

    strata: for each task its episodes' values (n,), or its seeds' scores (n,). Values are drawn
    anew within each stratum, never across (Agarwal et al. 2021, "Deep RL at the edge of the
    statistical precipice").
    """
    means = _resampled_means(strata, resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(_mean(strata), float(low), float(high))


def mean_success(
    strata: Sequence[np.ndarray], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Mean success over tasks with its stratified bootstrap interval. strata: for each task its
    successes, bool (n,).

    Where no task has both successes and failures the bootstrap would claim certainty: Wilson's
    interval of the mean over all episodes stands in for it.
    """
    if any(np.ptp(np.asarray(stratum, np.int8)) for stratum in strata):
        return stratified_bootstrap(strata, confidence=confidence, seed=seed)
    trials = sum(map(len, strata))
    return wilson(_mean(strata) * trials, trials, confidence)


@dataclass(frozen=True)
class Difference:
    """How much A is above B. probability: that A is the better one, as sure as the interval is; 0.5
    where nothing tells."""

    mean: float
    low: float
    high: float
    probability: float


def difference(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Difference:
    """The mean over tasks of A's mean less B's, paired by task: a[i] and b[i] are values (n,) of
    the same task."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tasks against {len(b)}")
    differences = _resampled_means(a, RESAMPLES, seed) - _resampled_means(b, RESAMPLES, seed + 1)
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    probability = float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
    return Difference(_mean(a) - _mean(b), float(low), float(high), probability)


def difference_of_success(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Difference:
    """`difference` for successes, bool (n,) a task. Where the bootstrap would claim certainty for
    both A and B, the bounds are combined from the two intervals (Newcombe 1998, method 10)."""
    resampled = difference(a, b)
    if resampled.low < resampled.high:
        return resampled
    low, high = _newcombe(resampled.mean, mean_success(a), mean_success(b))
    return Difference(resampled.mean, low, high, resampled.probability)


def probability_of_improvement(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """The chance that a run of A beats a run of B on a task drawn at random, ties counting half
    (Agarwal et al. 2021).

    a[i], b[i]: scores (n,), (m,) of the runs on the same task.
    """
    wins = [np.sign(np.subtract.outer(one, other)) for one, other in zip(a, b, strict=True)]
    return float(np.mean([(win.mean() + 1) / 2 for win in wins]))


def mean_over_seeds(values: np.ndarray, *, confidence: float = CONFIDENCE) -> Interval:
    """A method's mean over tasks and training seeds, with Student's interval.

    values: of every episode (tasks, seeds, episodes), successes or numbers. A seed is one agent, so
    that the seeds' means over tasks are the sample. A bootstrap of so few covers the truth too
    rarely (of three seeds that differ, 81 times in a hundred). With one seed the interval is over
    episodes alone. Where nothing varies it would claim certainty: of successes, Wilson's interval
    over all episodes stands in for it.
    """
    sample = _sample_of_seeds(values)
    if not sample.variance and _are_successes(values):
        return wilson(float(np.sum(values)), values.size, confidence)
    reach = _reach(sample, confidence)
    low, high = sample.mean - reach, sample.mean + reach
    if _are_successes(values):
        low, high = max(low, 0.0), min(high, 1.0)
    return Interval(sample.mean, low, high)


def difference_over_seeds(
    a: np.ndarray, b: np.ndarray, *, confidence: float = CONFIDENCE
) -> Difference:
    """The mean of method A less that of B, on the same tasks, with Welch's interval (Welch 1947) as
    in `mean_over_seeds`; A and B may have different numbers of seeds.

    a, b: values (tasks, seeds, episodes). Where nothing varies the bounds are combined from the two
    intervals.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tasks against {len(b)}")
    ours, theirs = _sample_of_seeds(a), _sample_of_seeds(b)
    mean, variance = ours.mean - theirs.mean, ours.variance + theirs.variance
    if not variance:
        low, high = _newcombe(mean, mean_over_seeds(a), mean_over_seeds(b))
        return Difference(mean, low, high, float(np.sign(mean) + 1) / 2)
    freedom = variance**2 / sum(each.variance**2 / each.freedom for each in (ours, theirs))
    reach = _reach(_Sample(mean, variance, freedom), confidence)
    return Difference(
        mean, mean - reach, mean + reach, float(stdtr(freedom, mean / math.sqrt(variance)))
    )


def improvement(
    a: np.ndarray,
    b: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """`probability_of_improvement` of method A over B with its interval, over seeds drawn anew for
    all tasks together.

    a: scores (tasks, seeds) of A's runs; b: the same of B's, which may have another number of
    seeds.
    """
    generator = np.random.default_rng(seed)
    ours, theirs = (
        each[:, generator.integers(each.shape[1], size=(resamples, each.shape[1]))]
        for each in (a, b)
    )
    wins = (np.sign(ours[..., :, None] - theirs[..., None, :]) + 1) / 2
    low, high = np.quantile(wins.mean(axis=(0, 2, 3)), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(probability_of_improvement(list(a), list(b)), float(low), float(high))


@dataclass(frozen=True)
class _Sample:
    """A mean, its variance as estimated, and with how many degrees of freedom that is."""

    mean: float
    variance: float
    freedom: float


def _sample_of_seeds(values: np.ndarray) -> _Sample:
    """Of values (tasks, seeds, episodes). The variance is at least what episodes alone give: seeds
    may agree by chance."""
    tasks, seeds, episodes = np.shape(values)
    values = np.asarray(values, np.float64)
    within = (
        float(values.var(axis=2, ddof=1).mean()) / (tasks * seeds * episodes)
        if episodes > 1
        else 0.0
    )
    if seeds == 1:
        return _Sample(float(values.mean()), within, max(tasks * (episodes - 1), 1))
    means = values.mean(axis=(0, 2))
    between = (
        float(means.var(ddof=1)) / seeds if np.ptp(means) else 0.0
    )  # equal ones: not rounding either
    return _Sample(float(values.mean()), max(between, within), seeds - 1)


def _reach(sample: _Sample, confidence: float) -> float:
    """From the mean to either bound of its interval."""
    return float(stdtrit(sample.freedom, (1 + confidence) / 2)) * math.sqrt(sample.variance)


def _are_successes(values: np.ndarray) -> bool:
    return bool(np.isin(values, (0, 1)).all())


def _newcombe(mean: float, one: Interval, other: Interval) -> tuple[float, float]:
    """Bounds of a difference from two independent intervals (Newcombe 1998, method 10)."""
    low = mean - math.hypot(one.mean - one.low, other.high - other.mean)
    return low, mean + math.hypot(one.high - one.mean, other.mean - other.low)


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
