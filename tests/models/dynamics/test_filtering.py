"""Filtering with a backward pass by hand, against the same by autograd, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manyparts.models.dynamics.configs import (
    CategoricalLatentConfig,
    GaussianLatentConfig,
    LatentConfig,
    LatentWorldConfig,
    TakenActions,
)
from manyparts.models.dynamics.latent_world import LatentFilter
from manyparts.models.dynamics.state_space import Filtered, StateSpace


def filter_of(latent: LatentConfig, actions: TakenActions = "own") -> LatentFilter:
    torch.manual_seed(0)
    config = LatentWorldConfig(width=5, latent=latent, sources=2, actions=actions)
    model = LatentFilter(config, cameras={}, state=3, action=2).double()
    torch.nn.init.normal_(model.recurrent.norm.weight)  # pyright: ignore
    torch.nn.init.normal_(model.recurrent.norm.bias)  # pyright: ignore
    return model


def inputs(steps: int) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    embedding = torch.randn(4, steps, 5, generator=drawn, dtype=torch.double, requires_grad=True)
    action = torch.randn(4, steps, 4, generator=drawn, dtype=torch.double, requires_grad=True)
    return embedding, action


def gradients(model: LatentFilter, filtered: Filtered, *given: Tensor) -> dict[str, Tensor]:
    """Those of a random combination of all that filtering returns."""
    drawn = torch.Generator().manual_seed(2)
    total = torch.zeros((), dtype=torch.double)
    for part in filtered:
        total = total + (part * torch.randn(part.shape, generator=drawn)).sum()
    named = dict(model.named_parameters())
    named |= {str(number): each for number, each in enumerate(given)}
    found = torch.autograd.grad(total, list(named.values()), retain_graph=True)
    return dict(zip(named, found, strict=True))


@pytest.mark.parametrize("actions", ["own", "none"])
@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("latent", [GaussianLatentConfig(3), CategoricalLatentConfig(2, 3)])
def test_it_equals_autograd(latent: LatentConfig, seed: int | None, actions: TakenActions) -> None:
    model, given = filter_of(latent, actions), inputs(4)

    def generator() -> torch.Generator | None:
        return None if seed is None else torch.Generator().manual_seed(seed)

    expected = StateSpace.filter(model, *given, generator())
    filtered = model.filter(*given, generator())
    for part, other in zip(filtered, expected, strict=True):
        torch.testing.assert_close(part, other)
    torch.testing.assert_close(
        gradients(model, filtered, *given), gradients(model, expected, *given)
    )
    # A second pass, as for the gradient norm of another loss.
    torch.testing.assert_close(
        gradients(model, filtered, *given), gradients(model, expected, *given)
    )


def test_it_equals_finite_differences() -> None:
    model, given = filter_of(GaussianLatentConfig(2)), inputs(3)

    def states(embedding: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        return tuple(model.filter(embedding, action, torch.Generator().manual_seed(0)))

    assert torch.autograd.gradcheck(states, given)


def test_without_gradients_it_is_the_same() -> None:
    model, given = filter_of(CategoricalLatentConfig(2, 3)), inputs(4)
    filtered = model.filter(*given, torch.Generator().manual_seed(0))
    with torch.no_grad():
        again = model.filter(*given, torch.Generator().manual_seed(0))
    for part, other in zip(filtered, again, strict=True):
        torch.testing.assert_close(part, other)
