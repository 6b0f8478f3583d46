"""Calibration of distributions where it is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from manyparts.evaluation.prediction.calibration import LEVELS, QUANTILES, calibration
from manyparts.nn.bins import Bins

EVEN = (np.arange(100_000) + 0.5) / 100_000  # what a calibrated model's transform is in the limit


def test_calibrated_model_has_no_error() -> None:
    result = calibration(np.stack([EVEN, EVEN[::-1]], axis=1), ["x", "reward"])
    assert result.steps == len(EVEN) and set(result.numbers) == {"x", "reward"}
    np.testing.assert_allclose(result.overall.within, LEVELS, atol=1e-4)
    np.testing.assert_allclose(result.shares, QUANTILES, atol=1e-4)
    assert result.overall.error < 1e-4


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_wrong_std_covers_as_computed(ratio: float) -> None:
    """Truth N(0, 1), predicted N(0, ratio^2)."""
    result = calibration(norm.cdf(norm.ppf(EVEN) / ratio)[:, None], ["x"])
    expected = [2 * norm.cdf(ratio * norm.ppf(0.5 + level / 2)) - 1 for level in LEVELS]
    np.testing.assert_allclose(result.overall.within, expected, atol=1e-3)
    error = np.abs(norm.cdf(ratio * norm.ppf(QUANTILES)) - QUANTILES).mean()
    assert result.overall.error == pytest.approx(error, abs=1e-3)


def test_opposite_errors_do_not_cancel() -> None:
    """The square root of a uniform number lies above u with the probability 1 - u^2."""
    result = calibration(np.stack([np.sqrt(EVEN), 1 - np.sqrt(EVEN)], axis=1), ["x", "y"])
    error = np.abs(QUANTILES**2 - QUANTILES).mean()
    assert result.overall.error == pytest.approx(error, abs=1e-3)
    assert np.abs(np.array(result.shares) - QUANTILES).mean() < error


def test_certain_and_right_is_within() -> None:
    result = calibration(np.full((10, 1), 0.5), ["x"])
    assert result.overall.within == (1.0,) * len(LEVELS) and result.overall.error == pytest.approx(
        0.25, abs=1e-2
    )


def test_certain_and_wrong_is_outside() -> None:
    result = calibration(np.zeros((10, 1)), ["x"])
    assert result.overall.within == (0.0,) * len(LEVELS) and result.overall.error == pytest.approx(
        0.5
    )


@pytest.mark.parametrize(("mu", "limit"), [(0.0, 5.0), (100.0, 256.0)])
def test_bins_keep_cumulative_probabilities(mu: float, limit: float) -> None:
    bins = Bins(512, mu=mu, limit=limit)
    values = torch.randn(
        200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).float()
    chances = torch.bincount(bins.encode(values), minlength=512) / len(values)
    asked = torch.linspace(-2.5, 2.5, 41)
    result = bins.cumulative(chances.expand(41, -1), asked)
    np.testing.assert_allclose(result, norm.cdf(asked.numpy()), atol=6e-3)
    beyond = bins.cumulative(chances.expand(2, -1), torch.tensor([-1e6, 1e6]))
    assert beyond[0] < 1e-6 and beyond[1] > 1 - 1e-5


def test_bins_are_calibrated_for_their_samples() -> None:
    """Values drawn evenly from the cells of random chances: their transform is uniform."""
    generator = torch.Generator().manual_seed(0)
    bins, count = Bins(16, limit=2.0), 20_000
    chances = torch.rand(count, 16, generator=generator).pow(4)
    chances = chances / chances.sum(dim=1, keepdim=True)
    cell = chances.multinomial(1, generator=generator)[:, 0]
    values = (cell + torch.rand(count, generator=generator)) / 16 * 4 - 2
    result = calibration(bins.cumulative(chances, values)[:, None].numpy(), ["x"])
    np.testing.assert_allclose(result.overall.within, LEVELS, atol=0.015)
    assert result.overall.error < 0.01
