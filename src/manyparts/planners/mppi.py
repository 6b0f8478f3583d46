"""Model-predictive path integral control: the mean of plans, weighted by their returns."""

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
    """Settings of MPPI. Plans are drawn nearer to the last plan than those of other planners."""

    std: float = 0.5
    """Std of the plans' noise, in half-ranges of an action; above 0."""

    temperature: float = 0.2
    """How far weights spread over worse plans: a plan weighs exp(return / temperature), where
    returns are divided by their std over the candidates; above 0."""

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
    """Return the weighted mean of plans around `start` and proposals (Williams et al. 2017).

    The mean is imagined too, for its return. If its predictions are not finite, the best of the
    plans is returned instead.

    Args:
        context: What the world model has seen so far.
        config: Settings.
        generator: Source of all that is drawn.
        start: The plan to improve.
        objective: What a step is worth.
        proposals: Plans (p, t, a) that are tried, and around which some candidates are drawn.

    Raises:
        UserError: The proposals do not fit, the objective returns anything but a number per plan,
            or the model's predictions are not finite under any plan.
        ValueError: `start` has another length than the horizon.
    """
    seed = imagination_seed(generator)
    plans = candidates(start, start, config, generator, proposals)
    plan_returns = returns(context, plans, config, objective, seed)
    best_plan = best(plans, plan_returns)
    # Counted in their std, so that one temperature suits rewards of any size. The lower bound
    # serves objectives under which all plans are equal.
    std = plan_returns[plan_returns.isfinite()].std(correction=0).clamp(min=_MIN_STD)
    # Relative to the best: exponents are at most 0. Plans that explode (-inf) weigh exactly 0.
    advantage = plan_returns - best_plan.predicted_return
    weights = (advantage / (config.temperature * std)).softmax(dim=0)
    # (n,) and (n, t, a) to (t, a).
    mean = torch.einsum("n,nta->ta", weights, plans)
    (mean_return,) = returns(context, mean[None], config, objective, seed)
    return Plan(mean, mean_return) if mean_return.isfinite() else best_plan
