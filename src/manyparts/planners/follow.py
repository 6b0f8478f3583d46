"""No search at all: what the model itself would do, if it learned a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.models.dynamics.world_model import Context, ProposesActions
from manyparts.planners.plans import Plan, StepValue, predicted_reward


@dataclass(frozen=True)
class FollowConfig:
    """Nothing to set."""

    horizon: ClassVar[int] = 1


def follow(
    context: Context,
    config: FollowConfig,
    generator: torch.Generator,
    start: Float[Tensor, "t a"],
    *,
    objective: StepValue = predicted_reward,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Plan:
    """The action of the model's own policy, of which no return is predicted. Raises UserError if it
    has none, and for an objective or proposals, which it could not heed."""
    if objective is not predicted_reward or proposals is not None:
        raise UserError(
            "a policy is followed as it is: it takes neither an objective nor proposals"
        )
    imagination = context.imagine(1)
    if not isinstance(imagination, ProposesActions):
        raise UserError(
            "this dynamics model has no policy to follow; a transformer trained with one has"
        )
    action = imagination.policy()
    return Plan(action, action.new_tensor(torch.nan))
