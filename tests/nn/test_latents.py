"""Gaussian and categorical variables against torch.distributions, and through one interface."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from manyparts.nn.latents import CategoricalLatent, GaussianLatent, Latent, sample

FAMILIES: dict[str, Latent] = {
    "gaussian": GaussianLatent(6),
    "categorical": CategoricalLatent(3, 4),
}
every_family = pytest.mark.parametrize("latent", FAMILIES.values(), ids=FAMILIES)


def random_distribution(latent: Latent, seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return latent.distribution(torch.randn(*shape, latent.outputs, generator=generator))


def reference(latent: Latent, distribution: torch.Tensor) -> distributions.Distribution:
    if isinstance(latent, GaussianLatent):
        mean, std = distribution.unbind(dim=-2)
        return distributions.Independent(distributions.Normal(mean, std), 1)
    return distributions.Independent(distributions.Categorical(logits=distribution), 1)


@every_family
def test_divergence_equals_that_of_torch(latent: Latent) -> None:
    first, second = random_distribution(latent, 0, 5), random_distribution(latent, 1, 5)
    expected = distributions.kl_divergence(reference(latent, first), reference(latent, second))
    torch.testing.assert_close(latent.divergence(first, second), expected)
    torch.testing.assert_close(latent.divergence(first, first), torch.zeros(5), atol=1e-6, rtol=0)


@every_family
def test_draws_have_the_distribution_s_mean(latent: Latent) -> None:
    distribution = random_distribution(latent, 2, 1).expand(40_000, *[-1] * (2))
    drawn = latent.draw(distribution, torch.Generator().manual_seed(0))
    assert drawn.shape == (40_000, latent.width)
    mean = distribution[0]
    expected = mean[0] if isinstance(latent, GaussianLatent) else mean.exp().flatten()
    torch.testing.assert_close(drawn.mean(dim=0), expected, atol=0.03, rtol=0)


@every_family
def test_same_generator_draws_the_same(latent: Latent) -> None:
    distribution = random_distribution(latent, 3, 7)
    first, again = (latent.draw(distribution, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(latent.draw(distribution), latent.draw(distribution))


@every_family
def test_gradients_pass_through_draws(latent: Latent) -> None:
    outputs = torch.randn(4, latent.outputs, requires_grad=True)
    drawn = latent.draw(latent.distribution(outputs), torch.Generator().manual_seed(0))
    (drawn * torch.arange(latent.width)).sum().backward()
    assert outputs.grad is not None and (outputs.grad != 0).any(dim=-1).all()


def test_no_category_is_impossible() -> None:
    logits = torch.tensor([[100.0, 0.0, 0.0, 0.0]])
    assert CategoricalLatent(1, 4, uniform=0.04).distribution(logits).exp().min() >= 0.0099


@every_family
@pytest.mark.parametrize("seed", [None, 4])
def test_samples_are_draws_with_their_gradient(latent: Latent, seed: int | None) -> None:
    outputs = torch.randn(5, latent.outputs, dtype=torch.double, requires_grad=True)
    results = []
    for function in (
        lambda generator: sample(latent, outputs, generator),
        lambda generator: latent.draw(latent.distribution(outputs), generator),
    ):
        drawn = function(None if seed is None else torch.Generator().manual_seed(seed))
        weights = torch.arange(latent.width, dtype=torch.double)
        results.append((drawn, *torch.autograd.grad((drawn * weights).sum(), outputs)))
    torch.testing.assert_close(*results)
