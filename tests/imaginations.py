"""Histories for dynamics models, and what holds for the imaginations of all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from manyparts.models.dynamics.world_model import Context


def history_of(model: Any, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """So many observations, and the actions and rewards between them, always the same."""
    generator = torch.Generator().manual_seed(length)
    shapes = ((length, model.state_dimension), (length - 1, model.action_dimension), (length - 1,))
    observation, action, reward = (torch.randn(shape, generator=generator) for shape in shapes)
    return observation, action.clamp(-1, 1), reward


def require_candidates_apart(context: Context, plans: Tensor) -> None:
    """Four plans (4, t, a) come to the same however they are split into batches, with the same
    random numbers."""
    together = context.imagine(4, torch.Generator().manual_seed(7))
    rows = [together.step(action) for action in plans.unbind(dim=1)]
    for split in ([0], [1, 2], [3]):
        part = context.imagine(len(split), torch.Generator().manual_seed(7))
        for action, whole in zip(plans[split].unbind(dim=1), rows, strict=True):
            alone = part.step(action)
            torch.testing.assert_close(
                alone.observation, whole.observation[split], atol=1e-5, rtol=1e-4
            )
            torch.testing.assert_close(alone.reward, whole.reward[split], atol=1e-5, rtol=1e-4)
