"""Distributions over actions against numerical integration and counts."""

from __future__ import annotations

import pytest
import torch

from manyparts.nn.policies import Choice, TruncatedNormal

MEANS, STDS = (-0.9, 0.0, 0.6), (0.1, 0.5, 2.0)
every_normal = pytest.mark.parametrize("mean", MEANS)


def normal(mean: float, std: float) -> TruncatedNormal:
    return TruncatedNormal(torch.tensor([[mean]]), torch.tensor([[std]]))


@pytest.mark.parametrize("std", STDS)
@every_normal
def test_density_integrates_to_one(mean: float, std: float) -> None:
    grid = torch.linspace(-1, 1, 20_001)[:, None]
    density = normal(mean, std).log_probability(grid).exp()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("std", STDS)
@every_normal
def test_entropy_is_the_mean_of_the_log_density(mean: float, std: float) -> None:
    grid = torch.linspace(-1, 1, 20_001)[:, None]
    log_density = normal(mean, std).log_probability(grid)
    expected = -torch.trapezoid(log_density.exp() * log_density, grid[:, 0])
    assert normal(mean, std).entropy.item() == pytest.approx(expected.item(), abs=2e-3)


@pytest.mark.parametrize("std", STDS)
@every_normal
def test_draws_follow_the_density(mean: float, std: float) -> None:
    many = TruncatedNormal(torch.full((50_000, 1), mean), torch.full((50_000, 1), std))
    drawn = many.draw(torch.Generator().manual_seed(0))
    assert drawn.abs().max() <= 1
    grid = torch.linspace(-1, 1, 20_001)[:, None]
    density = normal(mean, std).log_probability(grid).exp()
    expected = torch.trapezoid(density * grid[:, 0], grid[:, 0]).item()
    assert drawn.mean().item() == pytest.approx(expected, abs=0.02)


def test_gradients_pass_through_actions() -> None:
    mean = torch.zeros(4, 2, requires_grad=True)
    std = torch.full((4, 2), 0.5, requires_grad=True)
    TruncatedNormal(mean, std).draw(torch.Generator().manual_seed(1)).sum().backward()
    assert mean.grad is not None and std.grad is not None
    assert (mean.grad > 0).all() and (std.grad != 0).all()


@every_normal
def test_gradients_of_draws_are_exact(mean: float) -> None:
    """The hand-written backward pass of draws against finite differences."""
    means = torch.full((20, 2), mean, dtype=torch.double, requires_grad=True)
    stds = torch.tensor([0.3, 2.0], dtype=torch.double).expand(20, 2).clone().requires_grad_()

    def draw(means: torch.Tensor, stds: torch.Tensor) -> torch.Tensor:
        return TruncatedNormal(means, stds).draw(torch.Generator().manual_seed(0))

    assert torch.autograd.gradcheck(draw, (means, stds))


def test_choices_are_drawn_by_their_probability() -> None:
    choice = Choice.of(torch.tensor([0.0, 1.0, 2.0]).expand(40_000, 3), uniform=0.1)
    drawn = choice.draw(torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        drawn.mean(dim=0), choice.log_probabilities[0].exp(), atol=0.01, rtol=0
    )
    assert choice.mode[0].tolist() == [0, 0, 1]
    expected = torch.distributions.Categorical(logits=choice.log_probabilities[0]).entropy()
    torch.testing.assert_close(choice.entropy[0], expected)
