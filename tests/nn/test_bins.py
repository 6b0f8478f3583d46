"""Soft targets of bins: their mean is the value, and their std is the configured one."""

from __future__ import annotations

import pytest
import torch

from manyparts.nn.bins import Bins

every_tokeniser = pytest.mark.parametrize(("mu", "limit"), [(100.0, 256.0), (0.0, 5.0)])


@every_tokeniser
@pytest.mark.parametrize("std", [1 / 32, 0.25, 1.0, 2.0])
@pytest.mark.parametrize("num_bins", [8, 16, 128, 512])
def test_soft_targets_have_value_as_mean(
    mu: float, limit: float, num_bins: int, std: float
) -> None:
    bins = Bins(num_bins, mu=mu, limit=limit)
    low, high = bins.centres[0].item(), bins.centres[-1].item()
    values = torch.cat(
        [torch.linspace(low, high, 2001), torch.randn(500), bins.centres, torch.zeros(1)]
    ).clamp(low, high)
    targets = bins.soft_targets(values, std)
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(dim=-1), torch.ones(len(values)))
    torch.testing.assert_close(targets @ bins.centres, values, rtol=1e-4, atol=1e-6 * limit)


@every_tokeniser
def test_values_beyond_centres_get_outermost_bin(mu: float, limit: float) -> None:
    bins = Bins(16, mu=mu, limit=limit)
    targets = bins.soft_targets(torch.tensor([-2 * limit, -limit, limit, 2 * limit]), 1.0)
    assert (
        targets.argmax(dim=-1).tolist() == [0, 0, 15, 15]
        and targets.amax(dim=-1).tolist() == [1.0] * 4
    )


@every_tokeniser
def test_soft_targets_have_configured_std(mu: float, limit: float) -> None:
    """A centre's are a Gaussian over bins; between two centres they are a mixture of both."""
    bins = Bins(128, mu=mu, limit=limit)
    index = torch.arange(128.0)
    for value, added_variance in (
        (bins.centres[90], 0.0),
        ((bins.centres[90] + bins.centres[91]) / 2, 0.25),
    ):
        targets = bins.soft_targets(value, 2.0)
        middle = targets @ index
        assert targets @ (index - middle).square() == pytest.approx(4 + added_variance, rel=0.02)


def test_cached_soft_targets_are_trainable() -> None:
    bins, logits = Bins(24), torch.zeros(24, requires_grad=True)
    with torch.inference_mode():
        bins.soft_targets(torch.zeros(1), 0.7)
    (logits * bins.soft_targets(torch.zeros(()), 0.7)).sum().backward()
    assert logits.grad is not None


def test_nan_has_nan_soft_targets() -> None:
    assert Bins(16).soft_targets(torch.tensor([torch.nan, 0.0]), 1.0).isnan().all(
        dim=-1
    ).tolist() == [True, False]


@pytest.mark.parametrize(("mu", "limit"), [(100.0, 256.0), (0.0, 5.0), (1.7, 1.0)])
def test_bins_reach_up_to_limit(mu: float, limit: float) -> None:
    bins = Bins(1024, mu=mu, limit=limit)
    values = torch.linspace(-limit, limit, 4001)
    decoded = bins.decode(bins.encode(values))
    spacing = 1e-3 * limit if not mu else 0.02 * values.abs() + 0.02
    assert ((decoded - values).abs() <= spacing + 2 * limit / 1024 * (not mu)).all()
    expected = bins.soft_targets(torch.tensor([0.3 * limit]), 1.0) @ bins.centres
    torch.testing.assert_close(expected, torch.tensor([0.3 * limit]), rtol=2e-2, atol=1e-2)


def test_samples_have_predicted_probabilities() -> None:
    """Rows of equal distributions get equal samples."""
    bins, drawing = Bins(64, limit=5.0), torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1, 64, generator=torch.Generator().manual_seed(1)).expand(
        2, 20_000, 64
    )
    samples = bins.sample(logits, drawing)
    assert samples.shape == (2, 20_000) and torch.equal(samples[0], samples[1])
    fractions = torch.bincount(bins.encode(samples[0]), minlength=64) / 20_000
    torch.testing.assert_close(fractions, logits[0, 0].softmax(dim=-1), atol=0.015, rtol=0)
    certain = torch.full((1, 3, 64), -torch.inf)
    certain[0, range(3), [0, 31, 63]] = 0.0
    torch.testing.assert_close(bins.sample(certain, drawing), bins.centres[[0, 31, 63]][None])
