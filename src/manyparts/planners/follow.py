"""No search: the action that the model's own policy would take, if the model learned one."""

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
    """The planner that follows the model's own policy; it has no settings."""

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
    """Return the action of the model's own policy as a plan of one step, without a return.

    Args:
        context: What the world model has seen so far.
        config: Not used, as it has no settings.
        generator: Not used.
        start: Not used.
        objective: Must be `predicted_reward`.
        proposals: Must be None.

    Raises:
        UserError: The model has no policy, or there is an objective or a proposal, which a policy
            could not take into account.
    """
    if objective is not predicted_reward or proposals is not None:
        raise UserError(
            "a policy is followed as it is: it takes neither an objective nor proposals; "
            "use another planner for these"
        )
    # An imagination of one candidate, which is asked before its first step.
    imagination = context.imagine(1)
    if not isinstance(imagination, ProposesActions):
        raise UserError(
            "this dynamics model has no policy to follow; a transformer trained with one has"
        )
    action = imagination.policy()
    # nan, not 0: no return was predicted, and a number would be taken for one.
    return Plan(action, action.new_tensor(torch.nan))
