"""Calibration of distributions whose calibration is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from manyparts.evaluation.prediction.calibration import LEVELS, QUANTILES, calibration
from manyparts.nn.bins import Bins

EVEN = (np.arange(100_000) + 0.5) / 100_000  # what a calibrated model's transform is in the limit


def test_a_calibrated_model_has_no_error() -> None:
    found = calibration(np.stack([EVEN, EVEN[::-1]], axis=1), ["x", "reward"])
    assert found.steps == len(EVEN) and set(found.numbers) == {"x", "reward"}
    np.testing.assert_allclose(found.overall.within, LEVELS, atol=1e-4)
    np.testing.assert_allclose(found.shares, QUANTILES, atol=1e-4)
    assert found.overall.error < 1e-4


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_a_deviation_that_is_wrong_by_a_factor_covers_as_much_as_it_must(ratio: float) -> None:
    """Truth N(0, 1), predicted N(0, ratio^2)."""
    found = calibration(norm.cdf(norm.ppf(EVEN) / ratio)[:, None], ["x"])
    expected = [2 * norm.cdf(ratio * norm.ppf(0.5 + level / 2)) - 1 for level in LEVELS]
    np.testing.assert_allclose(found.overall.within, expected, atol=1e-3)
    error = np.abs(norm.cdf(ratio * norm.ppf(QUANTILES)) - QUANTILES).mean()
    assert found.overall.error == pytest.approx(error, abs=1e-3)


def test_numbers_that_err_in_opposite_ways_do_not_cancel() -> None:
    """The square root of a uniform number lies above u with the probability 1 - u^2."""
    found = calibration(np.stack([np.sqrt(EVEN), 1 - np.sqrt(EVEN)], axis=1), ["x", "y"])
    error = np.abs(QUANTILES**2 - QUANTILES).mean()
    assert found.overall.error == pytest.approx(error, abs=1e-3)
    assert np.abs(np.array(found.shares) - QUANTILES).mean() < error


def test_certain_and_right_is_not_calibrated_and_always_within() -> None:
    found = calibration(np.full((10, 1), 0.5), ["x"])
    assert found.overall.within == (1.0,) * len(LEVELS) and found.overall.error == pytest.approx(
        0.25, abs=1e-2
    )


def test_certain_and_wrong_is_never_within() -> None:
    found = calibration(np.zeros((10, 1)), ["x"])
    assert found.overall.within == (0.0,) * len(LEVELS) and found.overall.error == pytest.approx(
        0.5
    )


@pytest.mark.parametrize(("mu", "limit"), [(0.0, 5.0), (100.0, 256.0)])
def test_bins_that_hold_a_distribution_give_back_its_cumulative_probabilities(
    mu: float, limit: float
) -> None:
    bins = Bins(512, mu=mu, limit=limit)
    values = torch.randn(
        200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).float()
    chances = torch.bincount(bins.encode(values), minlength=512) / len(values)
    asked = torch.linspace(-2.5, 2.5, 41)
    found = bins.cumulative(chances.expand(41, -1), asked)
    np.testing.assert_allclose(found, norm.cdf(asked.numpy()), atol=6e-3)
    beyond = bins.cumulative(chances.expand(2, -1), torch.tensor([-1e6, 1e6]))
    assert beyond[0] < 1e-6 and beyond[1] > 1 - 1e-5


def test_bins_that_are_drawn_from_are_calibrated() -> None:
    """Values drawn evenly from the cells of random chances: their transform is uniform."""
    generator = torch.Generator().manual_seed(0)
    bins, count = Bins(16, limit=2.0), 20_000
    chances = torch.rand(count, 16, generator=generator).pow(4)
    chances = chances / chances.sum(dim=1, keepdim=True)
    cell = chances.multinomial(1, generator=generator)[:, 0]
    values = (cell + torch.rand(count, generator=generator)) / 16 * 4 - 2
    found = calibration(bins.cumulative(chances, values)[:, None].numpy(), ["x"])
    np.testing.assert_allclose(found.overall.within, LEVELS, atol=0.015)
    assert found.overall.error < 0.01
