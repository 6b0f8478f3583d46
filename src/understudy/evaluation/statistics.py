"""Intervals for success rates and for differences between agents, with few episodes a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


def wilson(successes: int | float, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a success rate (Wilson 1927), honest at 0 and at 1. Raises ValueError for 0 trials."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return Interval(rate, max(0.0, min(centre - reach, rate)), min(1.0, max(centre + reach, rate)))


def stratified_bootstrap(
    strata: Sequence[np.ndarray], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean over strata of their means, every stratum counting the same, with a percentile interval.

    strata: for each task its episodes' values (n,), or its seeds' scores (n,). Values are drawn anew within each
    stratum, never across (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").
    """
    means = _resampled_means(strata, resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(_mean(strata), float(low), float(high))


def mean_success(strata: Sequence[np.ndarray], *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
    """Mean success over tasks with its stratified bootstrap interval. strata: for each task its successes, bool (n,).

    Where no task has both successes and failures the bootstrap would claim certainty: Wilson's interval of the
    mean over all episodes stands in for it.
    """
    if any(np.ptp(np.asarray(stratum, np.int8)) for stratum in strata):
        return stratified_bootstrap(strata, confidence=confidence, seed=seed)
    trials = sum(map(len, strata))
    return wilson(_mean(strata) * trials, trials, confidence)


@dataclass(frozen=True)
class Difference:
    """How much A is above B. probability: that A is the better one, by the bootstrap; 0.5 where nothing tells."""

    mean: float
    low: float
    high: float
    probability: float


def difference(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Difference:
    """The mean over tasks of A's mean less B's, paired by task: a[i] and b[i] are values (n,) of the same task."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tasks against {len(b)}")
    differences = _resampled_means(a, RESAMPLES, seed) - _resampled_means(b, RESAMPLES, seed + 1)
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    probability = float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
    return Difference(_mean(a) - _mean(b), float(low), float(high), probability)


def difference_of_success(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Difference:
    """`difference` for successes, bool (n,) a task. Where the bootstrap would claim certainty for both A and B,
    the bounds are combined from the two intervals (Newcombe 1998, method 10)."""
    resampled = difference(a, b)
    if resampled.low < resampled.high:
        return resampled
    low, high = _newcombe(resampled.mean, mean_success(a), mean_success(b))
    return Difference(resampled.mean, low, high, resampled.probability)


def probability_of_improvement(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """The chance that a run of A beats a run of B on a task drawn at random, ties counting half (Agarwal et al. 2021).

    a[i], b[i]: scores (n,), (m,) of the runs on the same task.
    """
    wins = [np.sign(np.subtract.outer(one, other)) for one, other in zip(a, b, strict=True)]
    return float(np.mean([(win.mean() + 1) / 2 for win in wins]))


def mean_over_seeds(
    values: np.ndarray, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """A method's mean over tasks and training seeds, with a bootstrap interval stratified by task.

    values: of every episode (tasks, seeds, episodes), successes or numbers. Seeds are drawn anew for all tasks
    together, since a seed is one agent, and then each one's episodes. With one seed the interval is over episodes
    alone. Where nothing varies the bootstrap would claim certainty: of successes, Wilson's interval over all episodes
    stands in for it.
    """
    means = _resampled_over_seeds(values, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    if low == high and _are_successes(values):
        return wilson(float(np.sum(values)), values.size, confidence)
    return Interval(float(np.mean(values)), float(low), float(high))


def difference_over_seeds(a: np.ndarray, b: np.ndarray, *, confidence: float = CONFIDENCE, seed: int = 0) -> Difference:
    """The mean of method A less that of B, on the same tasks, resampled as in `mean_over_seeds`.

    a, b: values (tasks, seeds, episodes). Where nothing varies the bounds are combined from the two intervals.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} tasks against {len(b)}")
    ours, theirs = np.random.default_rng(seed).spawn(2)
    differences = _resampled_over_seeds(a, RESAMPLES, ours) - _resampled_over_seeds(b, RESAMPLES, theirs)
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    probability = float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
    mean = float(np.mean(a) - np.mean(b))
    if low == high:
        low, high = _newcombe(mean, mean_over_seeds(a), mean_over_seeds(b))
    return Difference(mean, float(low), float(high), probability)


def improvement(
    a: np.ndarray, b: np.ndarray, *, confidence: float = CONFIDENCE, resamples: int = 2000, seed: int = 0
) -> Interval:
    """`probability_of_improvement` of method A over B with its interval, over seeds drawn anew for all tasks together.

    a: scores (tasks, seeds) of A's runs; b: the same of B's, which may have another number of seeds.
    """
    generator = np.random.default_rng(seed)
    ours, theirs = (each[:, generator.integers(each.shape[1], size=(resamples, each.shape[1]))] for each in (a, b))
    wins = (np.sign(ours[..., :, None] - theirs[..., None, :]) + 1) / 2
    low, high = np.quantile(wins.mean(axis=(0, 2, 3)), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(probability_of_improvement(list(a), list(b)), float(low), float(high))


def _resampled_over_seeds(values: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """(resamples,) means of values (tasks, seeds, episodes), seeds and then episodes drawn with replacement."""
    _, seeds, episodes = values.shape
    chosen = generator.integers(seeds, size=(resamples, seeds))
    if _are_successes(values):  # how many of drawn successes there are is a binomial's number
        rates = np.asarray(values, np.float64).mean(axis=2)[:, chosen]
        return (generator.binomial(episodes, rates) / episodes).mean(axis=(0, 2))
    total = np.zeros(resamples)
    for task in values:
        drawn = generator.integers(episodes, size=(resamples, seeds, episodes))
        total += task[chosen[..., None], drawn].mean(axis=(1, 2))
    return total / len(values)


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
