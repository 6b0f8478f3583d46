"""Soft targets of bins have the mean that they stand for, wherever it can be said, and are spread
as far as asked."""

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
    found = bins.soft_targets(torch.tensor([-2 * limit, -limit, limit, 2 * limit]), 1.0)
    assert (
        found.argmax(dim=-1).tolist() == [0, 0, 15, 15] and found.amax(dim=-1).tolist() == [1.0] * 4
    )


@every_tokeniser
def test_soft_targets_have_configured_std(mu: float, limit: float) -> None:
    """A bin's own are a Gaussian over bins; between two bins a share of both's."""
    bins = Bins(128, mu=mu, limit=limit)
    place = torch.arange(128.0)
    for value, more in ((bins.centres[90], 0.0), ((bins.centres[90] + bins.centres[91]) / 2, 0.25)):
        found = bins.soft_targets(value, 2.0)
        middle = found @ place
        assert found @ (place - middle).square() == pytest.approx(4 + more, rel=0.02)


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
