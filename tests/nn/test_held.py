"""Held modules pass gradients on and get none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from manyparts.nn.held import held


def test_held_modules_pass_gradients_and_get_none() -> None:
    actor, world = nn.Linear(2, 2), nn.Linear(2, 1)
    world.bias.requires_grad_(False)
    with held(world):
        loss = world(actor(torch.ones(3, 2))).sum()
    loss.backward()
    assert actor.weight.grad is not None and world.weight.grad is None
    assert world.weight.requires_grad and not world.bias.requires_grad


def test_an_error_releases_held_modules() -> None:
    world = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="in the middle"), held(world):
        raise ValueError("in the middle")
    assert world.weight.requires_grad
