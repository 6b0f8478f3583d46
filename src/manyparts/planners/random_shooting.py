"""Random shooting: of many plans that are drawn at random, the one that the model says is best."""

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
    """TDM's planner: plans of N(0, sqrt 2), clipped."""


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
    """The best of plans around doing nothing, of `start`, the last plan moved on by a step, and of
    proposals.

    Raises UserError if the model's predictions are not finite under any plan.
    """
    seed = imagination_seed(generator)
    plans = candidates(start, torch.zeros_like(start), config, generator, proposals)
    return best(plans, returns(context, plans, config, objective, seed))
