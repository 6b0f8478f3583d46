"""Contexts for dynamics models, and what holds for the imaginations of all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from factories import make_spec
from torch import Tensor

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import DynamicsTransformerConfig
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.models.dynamics.world_model import Context

TRANSFORMER = DynamicsTransformerConfig(width=32, layers=2, heads=2, bins=64, tokeniser="uniform")
DECODINGS = ("parallel", "sequential")


def context_of(model: Any, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return observations, and the actions and rewards between them, always the same."""
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


def make_transformer(decoding: str = "parallel", steps: int = 6, **changes) -> DynamicsTransformer:
    torch.manual_seed(0)
    config = replace(TRANSFORMER, decoding=decoding, **changes)
    return DynamicsTransformer(config, EmbodimentSet((make_spec(),)), chunk=1, steps=steps).eval()


def expected_next(
    model: DynamicsTransformer, observation, action, reward
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the next observation and the last reward, from the whole sequence at once.

    There is an action and a reward for each observation.
    """
    values = model.sequence(observation[None], action[None], reward[None])
    with torch.no_grad():
        expected = model(values).expected[0]
    if model.config.decoding == "parallel":
        return observation[-1] + expected[-1, : model.state_dimension], expected[-1, -1]
    last = expected[-1, -2]  # the reward is predicted at the action's last number
    numbers = []
    for position in range(model.state_dimension):
        values = (
            values.clone()
            if position
            else torch.cat([values, torch.zeros_like(values[:, :1])], dim=1)
        )
        if not position:
            values[0, -2, -1] = last
        with torch.no_grad():
            flat = model(values).expected[0].flatten()
        begin = (len(observation)) * model.tokens_per_step
        numbers.append(flat[begin + position - 1])
        values[0, -1, position] = numbers[-1]
    return torch.stack(numbers), last
