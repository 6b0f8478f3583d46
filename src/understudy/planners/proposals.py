"""Proposals of a policy: what it would do in a model's dream. `advised`: of the model's own policy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.models.world_model import Advised, History
from understudy.types import UserError

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


@torch.no_grad()
def advised(history: History, *, horizon: int) -> Float[Tensor, "1 t a"]:
    """The plan of the model's own policy, where the model is right about what comes of it. From where a prediction is
    not finite on, the last action is held. Raises UserError if the model has no policy."""
    dream, actions, sane = history.dream(1), [], []
    if not isinstance(dream, Advised):
        raise UserError("this dynamics model has no policy to propose plans; a transformer trained with one has")
    for _ in range(horizon):
        actions.append(dream.policy())
        observation, reward = dream.step(actions[-1])
        sane.append(observation.isfinite().all() & reward.isfinite().all())
    meant = torch.stack(sane).cumprod(dim=0).sum()  # so many predictions were, so that many actions after the first
    steps = torch.arange(horizon, device=meant.device)
    return torch.stack(actions, dim=1)[:, steps.minimum(meant)]
