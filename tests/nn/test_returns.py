"""Lambda-returns against plain loops."""

from __future__ import annotations

import pytest
import torch

from manyparts.nn.returns import lambda_return


def by_definition(reward, value, discount, mixing: float) -> torch.Tensor:
    """Return the average of all n-step returns with weights (1 - mixing) mixing^(n - 1)."""
    steps = reward.shape[-1]
    returns = torch.zeros_like(reward)
    for start in range(steps):
        for end in range(start, steps):
            total, factor = torch.zeros(reward.shape[:-1]), torch.ones(reward.shape[:-1])
            for step in range(start, end + 1):
                total = total + factor * reward[..., step]
                factor = factor * discount[..., step]
            total = total + factor * value[..., end]
            length = end - start
            is_last = end == steps - 1
            weight = mixing**length if is_last else (1 - mixing) * mixing**length
            returns[..., start] += weight * total
    return returns


@pytest.mark.parametrize("mixing", [0.0, 0.5, 0.95, 1.0])
def test_lambda_return_equals_its_definition(mixing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    reward, value, goes_on = (torch.rand(3, 6, generator=generator) for _ in range(3))
    discount = 0.99 * (goes_on > 0.2)
    torch.testing.assert_close(
        lambda_return(reward, value, discount, mixing),
        by_definition(reward, value, discount, mixing),
    )


def test_nothing_counts_after_a_termination() -> None:
    reward, value = torch.ones(4), torch.full((4,), 10.0)
    discount = torch.tensor([1.0, 0.0, 1.0, 1.0])
    changed = torch.cat([reward[:2], torch.full((2,), 99.0)])
    for later in (reward, changed):
        assert lambda_return(later, value, discount, 1.0)[:2].tolist() == [2.0, 1.0]
