"""Model-predictive path integral control: the mean of plans around the last one, the better
weighing more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
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

_MIN_STD = 1e-6


@dataclass(frozen=True)
class MppiConfig(SearchConfig):
    """Plans are drawn nearer to the last one than those of the others are."""

    std: float = 0.5
    """Of the noise of plans, in half-ranges of an action."""

    temperature: float = 0.2
    """A plan weighs exp(return / temperature), with returns counted in their standard deviation
    over the candidates, so that it suits rewards of any size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"planner.temperature is {self.temperature}; expected a finite number above 0"
            )


@torch.no_grad()
def mppi(
    context: Context,
    config: MppiConfig,
    generator: torch.Generator,
    start: Float[Tensor, "t a"],
    *,
    objective: StepValue = predicted_reward,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Plan:
    """The weighted mean of plans around `start`, the last plan moved on by a step, and around
    proposals (Williams et al. 2017). The mean is imagined too, for its return; if it explodes where
    its parts did not, the best of them it is.

    Raises UserError if the model's predictions are not finite under any plan.
    """
    seed = imagination_seed(generator)
    plans = candidates(start, start, config, generator, proposals)
    found = returns(context, plans, config, objective, seed)
    first = best(plans, found)
    spread = found[found.isfinite()].std(correction=0).clamp(min=_MIN_STD)
    weights = ((found - first.predicted_return) / (config.temperature * spread)).softmax(dim=0)
    mean = torch.einsum("n,nta->ta", weights, plans)
    (predicted,) = returns(context, mean[None], config, objective, seed)
    return Plan(mean, predicted) if predicted.isfinite() else first
