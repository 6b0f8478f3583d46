"""Proposals of a policy: what it would do in a model's dream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.models.world_model import History

Policy = Callable[[Tensor], Tensor]
"""From observations (n, s), normalised, to actions (n, a), within [-1, 1]; it may sample."""


@torch.no_grad()
def followed(
    history: History,
    observation: Float[Tensor, "s"],
    policy: Policy,
    *,
    count: int,
    horizon: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n t a"]:
    """`count` plans of a policy that sees what the model predicts of its actions. observation: the present one.
    generator: see `History.dream`."""
    dream, seen, actions = history.dream(count, generator), observation.expand(count, -1), []
    for _ in range(horizon):
        actions.append(policy(seen).clamp(-1, 1))
        seen = dream.step(actions[-1]).observation
    return torch.stack(actions, dim=1)
