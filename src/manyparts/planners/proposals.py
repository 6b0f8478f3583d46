"""Proposals of a policy: what it would do in a model's imagination. `policy_proposal`: of the
model's own policy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.models.dynamics.world_model import Context, Imagination, ProposesActions

Policy = Callable[[Tensor], Tensor]
"""From observations (n, s), normalised, to actions (n, a), within [-1, 1]; it may sample."""


@torch.no_grad()
def followed(
    context: Context,
    observation: Float[Tensor, "s"],
    policy: Policy,
    *,
    count: int,
    horizon: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n t a"]:
    """`count` plans of a policy that sees what the model predicts of its actions. observation: the
    present one. From where a prediction is not finite on, the last action is held. generator: see
    `Context.imagine`."""

    def act(seen: Tensor | None) -> Tensor:
        return policy(observation.expand(count, -1) if seen is None else seen).clamp(-1, 1)

    return _lived(context.imagine(count, generator), act, horizon)


@torch.no_grad()
def policy_proposal(context: Context, *, horizon: int) -> Float[Tensor, "1 t a"]:
    """As `followed`, one plan of the model's own policy. Raises UserError if the model has none."""
    imagination = context.imagine(1)
    if not isinstance(imagination, ProposesActions):
        raise UserError(
            "this dynamics model has no policy to propose plans; a transformer trained with one has"
        )
    return _lived(imagination, lambda _: imagination.policy(), horizon)


def _lived(
    imagination: Imagination, act: Callable[[Tensor | None], Tensor], horizon: int
) -> Float[Tensor, "n t a"]:
    """What is done in an imagination. act: told what was predicted last; at first None."""
    seen, actions, sane = None, [], []
    for _ in range(horizon):
        actions.append(act(seen))
        seen, reward = imagination.step(actions[-1])
        sane.append(seen.isfinite().all(dim=1) & reward.isfinite())
    meant = (
        torch.stack(sane, dim=1).cumprod(dim=1).sum(dim=1)
    )  # predictions, and so the actions after the first
    plans = torch.stack(actions, dim=1)
    steps = torch.arange(horizon, device=plans.device).minimum(meant[:, None])
    return plans.take_along_dim(steps[..., None], dim=1)
