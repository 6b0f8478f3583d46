"""Intervals against scipy, published values, and by how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from manyparts.evaluation.statistics import (
    Interval,
    difference,
    difference_of_success,
    difference_over_seeds,
    improvement,
    mean_over_seeds,
    mean_success,
    probability_of_improvement,
    stratified_bootstrap,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 10), (1, 10), (5, 10), (10, 10), (20, 20), (81, 263), (1, 1)]
)
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_agrees_with_scipy(successes: int, trials: int, confidence: float) -> None:
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    estimate = wilson(successes, trials, confidence)
    assert estimate.mean == successes / trials
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_agrees_with_published_examples() -> None:
    assert wilson(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    assert wilson(10, 10).high == 1.0
    estimate = wilson(81, 263)  # Newcombe 1998, table I
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_rejects_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes of {trials}"):
        wilson(successes, trials)


def test_bootstrap_of_one_stratum_equals_scipys() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=40)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    estimate = stratified_bootstrap([values])
    assert estimate.mean == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_bootstrap_never_draws_across_tasks() -> None:
    estimate = stratified_bootstrap([np.zeros(100), np.ones(4)])
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_bootstrap_gives_reproducible_intervals() -> None:
    strata = [np.arange(5.0), np.arange(9.0)]
    assert stratified_bootstrap(strata, seed=3) == stratified_bootstrap(strata, seed=3)
    assert stratified_bootstrap(strata, seed=3) != stratified_bootstrap(strata, seed=4)


def test_mean_success_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    rates = np.array([0.95, 0.9, 0.8, 0.6, 0.9, 0.7])
    covered = 0
    for repetition in range(200):
        estimate = mean_success([rng.random(20) < rate for rate in rates], seed=repetition)
        covered += estimate.low <= rates.mean() <= estimate.high
    assert 180 <= covered <= 199


def test_only_successes_are_not_certainty() -> None:
    estimate = mean_success([np.ones(20, bool)] * 6)
    assert (estimate.mean, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(wilson(120, 120).low)


def test_difference_of_two_agents() -> None:
    rng = np.random.default_rng(0)
    good = [rng.random(50) < 0.9 for _ in range(4)]
    poor = [rng.random(50) < 0.5 for _ in range(4)]
    estimate = difference_of_success(good, poor)
    assert estimate.low < 0.4 < estimate.high
    assert estimate.low > 0
    assert estimate.probability > 0.999
    same = difference_of_success(good, good)
    assert same.mean == 0
    assert same.low < 0 < same.high
    assert same.probability == pytest.approx(0.5, abs=0.03)


def test_difference_agrees_with_normal_approximation() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(1.0, 1.0, 400), rng.normal(0.0, 2.0, 300)
    error = np.sqrt(a.var() / 400 + b.var() / 300)
    estimate = difference([a], [b])
    assert estimate.mean == pytest.approx(a.mean() - b.mean())
    assert (estimate.low, estimate.high) == pytest.approx(
        (estimate.mean - 1.96 * error, estimate.mean + 1.96 * error), abs=0.02
    )


def test_difference_of_certain_agents_is_newcombes() -> None:
    estimate = difference_of_success([np.ones(10, bool)], [np.ones(10, bool)])
    assert (estimate.mean, estimate.probability) == (0.0, 0.5)
    assert (estimate.low, estimate.high) == pytest.approx((-0.2775, 0.2775), abs=1e-4)


def test_difference_needs_the_same_tasks() -> None:
    with pytest.raises(ValueError, match="1 tasks against 2"):
        difference([np.ones(3)], [np.ones(3)] * 2)


def test_improvement_is_mann_whitney_statistic() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 12), rng.integers(0, 4, 9)
    expected = scipy.stats.mannwhitneyu(a, b).statistic / (12 * 9)
    assert probability_of_improvement([a], [b]) == pytest.approx(expected)
    assert probability_of_improvement([a, np.ones(3)], [b, np.ones(3)]) == pytest.approx(
        (expected + 0.5) / 2
    )


def test_improvement_of_simple_cases() -> None:
    a, b = np.array([[0.9, 0.8, 0.7]]), np.array([[0.1, 0.2]])
    assert (improvement(a, b).mean, improvement(a, b).low, improvement(b, a).high) == (
        1.0,
        1.0,
        0.0,
    )
    assert improvement(a, a).mean == 0.5
    estimate = improvement(
        np.array([[0.1, 0.3]]), np.array([[0.2, 0.2]])
    )  # one run above, one below
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0.0, 1.0)
    two_tasks = improvement(np.array([[0.9, 0.9], [0.1, 0.1]]), np.array([[0.5, 0.5], [0.5, 0.1]]))
    assert two_tasks.mean == pytest.approx((1 + 0.25) / 2)  # all four pairs won; two lost, two tied


def episodes_of(rates: list[list[float]], count: int) -> np.ndarray:
    """Successes (tasks, seeds, count) at these rates."""
    return np.arange(count) < np.round(np.array(rates)[..., None] * count)


def test_seeds_that_differ_widen_intervals() -> None:
    estimate = mean_over_seeds(episodes_of([[0.2, 0.5, 0.8], [0.3, 0.5, 0.7]], 100))
    equal = mean_over_seeds(episodes_of([[0.5] * 3] * 2, 100))
    assert estimate.mean == equal.mean == 0.5
    assert estimate.high - estimate.low > 3 * (equal.high - equal.low)


def test_mean_over_seeds_is_students() -> None:
    rates = [[0.3, 0.5, 0.8], [0.2, 0.5, 0.7]]
    estimate = mean_over_seeds(episodes_of(rates, 100))
    expected = scipy.stats.ttest_1samp(np.mean(rates, axis=0), 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx(
        (max(expected.low, 0), min(expected.high, 1))
    )
    constant = mean_over_seeds(np.full((2, 3, 4), 0.7))
    assert (constant.low, constant.high) == pytest.approx((0.7, 0.7))


def test_one_seed_counts_its_episodes() -> None:
    successes = episodes_of([[0.6], [0.9]], 20)
    estimate, expected = mean_over_seeds(successes), mean_success(list(successes[:, 0]))
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_intervals_over_seeds_cover_truth() -> None:
    rng = np.random.default_rng(0)
    means = differences = 0
    for _ in range(400):
        rates = (
            0.5 + 0.1 * rng.standard_normal((2, 1, 3)) + 0.05 * rng.standard_normal((2, 4, 3))
        )  # agents differ
        a, b = rng.random((2, 4, 3, 25)) < rates[..., None]
        estimate, apart = mean_over_seeds(a), difference_over_seeds(a, b)
        means += estimate.low <= 0.5 <= estimate.high
        differences += apart.low <= 0 <= apart.high
    assert 370 <= means <= 395 and 370 <= differences <= 395


def test_only_successful_seeds_are_not_certainty() -> None:
    assert mean_over_seeds(np.ones((2, 3, 20))) == wilson(120, 120)


def test_numbers_that_are_all_0_or_1_are_not_successes_where_that_is_said() -> None:
    """A mean of rewards of 0 is not uncertain by a Bernoulli's interval."""
    nothing, something = np.zeros((1, 3, 1)), np.full((1, 3, 1), 3.0)
    assert mean_over_seeds(nothing).high > 0.5
    assert mean_over_seeds(nothing, successes=False) == Interval(0.0, 0.0, 0.0)
    compared = difference_over_seeds(something, nothing, successes=False)
    assert (compared.low, compared.high) == (3.0, 3.0)


def test_certain_differences_widen_with_confidence() -> None:
    one, none = np.ones((1, 2, 10)), np.zeros((1, 2, 10))
    lows = [difference_over_seeds(one, none, confidence=c).low for c in (0.5, 0.95, 0.999)]
    assert lows == sorted(lows, reverse=True) and lows[0] > lows[1] > lows[2]


def test_difference_over_seeds_is_welchs() -> None:
    good, poor = [[0.9, 0.86, 0.98, 0.6]] * 2, [[0.1, 0.5, 0.66]] * 2
    estimate = difference_over_seeds(episodes_of(good, 50), episodes_of(poor, 50))
    expected = scipy.stats.ttest_ind(good[0], poor[0], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert estimate.mean == pytest.approx(np.mean(good) - np.mean(poor))
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert estimate.probability == pytest.approx(1 - expected.pvalue / 2)


def test_difference_over_seeds_without_variance() -> None:
    same = difference_over_seeds(np.zeros((2, 3, 20)), np.zeros((2, 3, 20)))
    assert same.low < 0 < same.high and same.probability == 0.5
    with pytest.raises(ValueError, match="1 tasks against 2"):
        difference_over_seeds(np.zeros((1, 3, 20)), np.zeros((2, 3, 20)))
