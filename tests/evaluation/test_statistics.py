"""Intervals against scipy, published values, and by how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from manyparts.evaluation.statistics import (
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
    found = wilson(successes, trials, confidence)
    assert found.mean == successes / trials
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_ten_of_ten_and_of_newcombes_example() -> None:
    assert wilson(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    assert wilson(10, 10).high == 1.0
    found = wilson(81, 263)  # Newcombe 1998, table I
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_rejects_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes of {trials}"):
        wilson(successes, trials)


def test_bootstrap_of_one_stratum_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=40)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    found = stratified_bootstrap([values])
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_bootstrap_counts_tasks_alike_and_never_draws_across_them() -> None:
    found = stratified_bootstrap([np.zeros(100), np.ones(4)])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)


def test_bootstrap_is_reproducible() -> None:
    strata = [np.arange(5.0), np.arange(9.0)]
    assert stratified_bootstrap(strata, seed=3) == stratified_bootstrap(strata, seed=3)
    assert stratified_bootstrap(strata, seed=3) != stratified_bootstrap(strata, seed=4)


def test_mean_success_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    rates = np.array([0.95, 0.9, 0.8, 0.6, 0.9, 0.7])
    covered = 0
    for repetition in range(200):
        found = mean_success([rng.random(20) < rate for rate in rates], seed=repetition)
        covered += found.low <= rates.mean() <= found.high
    assert 180 <= covered <= 199


def test_mean_success_of_only_successes_is_not_certain() -> None:
    found = mean_success([np.ones(20, bool)] * 6)
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(wilson(120, 120).low)


def test_difference_of_two_agents() -> None:
    rng = np.random.default_rng(0)
    good = [rng.random(50) < 0.9 for _ in range(4)]
    poor = [rng.random(50) < 0.5 for _ in range(4)]
    found = difference_of_success(good, poor)
    assert found.low < 0.4 < found.high
    assert found.low > 0
    assert found.probability > 0.999
    same = difference_of_success(good, good)
    assert same.mean == 0
    assert same.low < 0 < same.high
    assert same.probability == pytest.approx(0.5, abs=0.03)


def test_difference_agrees_with_the_normal_approximation() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(1.0, 1.0, 400), rng.normal(0.0, 2.0, 300)
    error = np.sqrt(a.var() / 400 + b.var() / 300)
    found = difference([a], [b])
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert (found.low, found.high) == pytest.approx(
        (found.mean - 1.96 * error, found.mean + 1.96 * error), abs=0.02
    )


def test_difference_where_both_always_succeed_is_newcombes() -> None:
    found = difference_of_success([np.ones(10, bool)], [np.ones(10, bool)])
    assert (found.mean, found.probability) == (0.0, 0.5)
    assert (found.low, found.high) == pytest.approx((-0.2775, 0.2775), abs=1e-4)


def test_difference_needs_the_same_tasks() -> None:
    with pytest.raises(ValueError, match="1 tasks against 2"):
        difference([np.ones(3)], [np.ones(3)] * 2)


def test_probability_of_improvement_is_the_mann_whitney_statistic() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 12), rng.integers(0, 4, 9)
    expected = scipy.stats.mannwhitneyu(a, b).statistic / (12 * 9)
    assert probability_of_improvement([a], [b]) == pytest.approx(expected)
    assert probability_of_improvement([a, np.ones(3)], [b, np.ones(3)]) == pytest.approx(
        (expected + 0.5) / 2
    )


def test_improvement_on_cases_made_by_hand() -> None:
    a, b = np.array([[0.9, 0.8, 0.7]]), np.array([[0.1, 0.2]])
    assert (improvement(a, b).mean, improvement(a, b).low, improvement(b, a).high) == (
        1.0,
        1.0,
        0.0,
    )
    assert improvement(a, a).mean == 0.5
    found = improvement(np.array([[0.1, 0.3]]), np.array([[0.2, 0.2]]))  # one run above, one below
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    two_tasks = improvement(np.array([[0.9, 0.9], [0.1, 0.1]]), np.array([[0.5, 0.5], [0.5, 0.1]]))
    assert two_tasks.mean == pytest.approx((1 + 0.25) / 2)  # all four pairs won; two lost, two tied


def episodes_of(rates: list[list[float]], count: int) -> np.ndarray:
    """Successes (tasks, seeds, count) at these rates."""
    return np.arange(count) < np.round(np.array(rates)[..., None] * count)


def test_mean_over_seeds_is_wider_than_over_episodes_where_seeds_differ() -> None:
    found = mean_over_seeds(episodes_of([[0.2, 0.5, 0.8], [0.3, 0.5, 0.7]], 100))
    alike = mean_over_seeds(episodes_of([[0.5] * 3] * 2, 100))
    assert found.mean == alike.mean == 0.5
    assert found.high - found.low > 3 * (alike.high - alike.low)


def test_mean_over_seeds_is_students() -> None:
    rates = [[0.3, 0.5, 0.8], [0.2, 0.5, 0.7]]
    found = mean_over_seeds(episodes_of(rates, 100))
    expected = scipy.stats.ttest_1samp(np.mean(rates, axis=0), 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((max(expected.low, 0), min(expected.high, 1)))
    constant = mean_over_seeds(np.full((2, 3, 4), 0.7))
    assert (constant.low, constant.high) == pytest.approx((0.7, 0.7))


def test_mean_over_one_seed_is_over_its_episodes() -> None:
    successes = episodes_of([[0.6], [0.9]], 20)
    found, expected = mean_over_seeds(successes), mean_success(list(successes[:, 0]))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_intervals_over_three_seeds_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    means = differences = 0
    for _ in range(400):
        rates = (
            0.5 + 0.1 * rng.standard_normal((2, 1, 3)) + 0.05 * rng.standard_normal((2, 4, 3))
        )  # agents differ
        a, b = rng.random((2, 4, 3, 25)) < rates[..., None]
        found, apart = mean_over_seeds(a), difference_over_seeds(a, b)
        means += found.low <= 0.5 <= found.high
        differences += apart.low <= 0 <= apart.high
    assert 370 <= means <= 395 and 370 <= differences <= 395


def test_mean_over_seeds_of_only_successes_is_not_certain() -> None:
    assert mean_over_seeds(np.ones((2, 3, 20))) == wilson(120, 120)


def test_difference_over_seeds_is_welchs() -> None:
    good, poor = [[0.9, 0.86, 0.98, 0.6]] * 2, [[0.1, 0.5, 0.66]] * 2
    found = difference_over_seeds(episodes_of(good, 50), episodes_of(poor, 50))
    expected = scipy.stats.ttest_ind(good[0], poor[0], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(good) - np.mean(poor))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.probability == pytest.approx(1 - expected.pvalue / 2)


def test_difference_over_seeds_where_nothing_varies() -> None:
    same = difference_over_seeds(np.zeros((2, 3, 20)), np.zeros((2, 3, 20)))
    assert same.low < 0 < same.high and same.probability == 0.5
    with pytest.raises(ValueError, match="1 tasks against 2"):
        difference_over_seeds(np.zeros((1, 3, 20)), np.zeros((2, 3, 20)))
