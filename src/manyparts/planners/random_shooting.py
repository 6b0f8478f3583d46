"""Random shooting: draw many plans and take the one with the highest predicted return."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.models.dynamics.world_model import Context
from manyparts.planners.plans import (
    Plan,
    SearchConfig,
    StepValue,
    best,
    candidates,
    imagination_seed,
    predicted_reward,
    returns,
)


@dataclass(frozen=True)
class RandomShootingConfig(SearchConfig):
    """Settings of TDM's planner, which draws plans from N(0, sqrt 2) and clips them."""


@torch.no_grad()
def random_shooting(
    context: Context,
    config: RandomShootingConfig,
    generator: torch.Generator,
    start: Float[Tensor, "t a"],
    *,
    objective: StepValue = predicted_reward,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Plan:
    """Return the best of `start`, of proposals, and of plans around doing nothing.

    Args:
        context: What the world model has seen so far.
        config: Settings.
        generator: Source of all that is drawn.
        start: The plan to improve, which is tried as it is.
        objective: What a step is worth.
        proposals: Plans (p, t, a) that are tried, and around which some candidates are drawn.

    Raises:
        UserError: The proposals do not fit, the objective returns anything but a number per plan,
            or the model's predictions are not finite under any plan.
        ValueError: `start` has another length than the horizon.
    """
    seed = imagination_seed(generator)
    # Around the middle of every action's range, not around `start`: each planning step searches
    # the whole range, and only `start` itself carries over the last result.
    plans = candidates(start, torch.zeros_like(start), config, generator, proposals)
    return best(plans, returns(context, plans, config, objective, seed))
