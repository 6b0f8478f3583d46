"""The cross-entropy method: draw plans, keep the best, draw the next ones around these; repeat."""

from __future__ import annotations

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
    noise,
    predicted_reward,
    returns,
)


@dataclass(frozen=True)
class CemConfig(SearchConfig):
    """Settings of the cross-entropy method.

    Elites stay among the candidates of the next iteration (Pinneri et al. 2020, arXiv 2008.06389),
    so that no iteration makes the plan worse.
    """

    elites: int = 16
    """Number of best plans; the next iteration is drawn with their mean and std; at least 2."""

    iterations: int = 3
    """Number of rounds of drawing, each with all `candidates`; at least 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.elites <= self.candidates:
            raise UserError(
                f"planner.elites is {self.elites}; "
                f"expected 2 to planner.candidates, {self.candidates}"
            )
        if self.iterations < 1:
            raise UserError(f"planner.iterations is {self.iterations}; expected at least 1")


@torch.no_grad()
def cem(
    context: Context,
    config: CemConfig,
    generator: torch.Generator,
    start: Float[Tensor, "t a"],
    *,
    objective: StepValue = predicted_reward,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Plan:
    """Return the best plan of all iterations (Rubinstein 1999).

    Args:
        context: What the world model has seen so far.
        config: Settings.
        generator: Source of all that is drawn.
        start: The plan to improve, around which the first iteration draws.
        objective: What a step is worth.
        proposals: Plans (p, t, a) that are tried, and around which the first iteration draws, too.

    Raises:
        UserError: The proposals do not fit, the objective returns anything but a number per plan,
            or the model's predictions are not finite under any plan.
        ValueError: `start` has another length than the horizon.
    """
    seed = imagination_seed(generator)
    plans = candidates(start, start, config, generator, proposals)
    plan_returns = returns(context, plans, config, objective, seed)
    for _ in range(config.iterations - 1):
        # A stable sort, so that plans of equal returns keep their order on every device.
        elite = plan_returns.argsort(descending=True, stable=True)[: config.elites]
        # A plan that explodes has a return of -inf; its actions must not enter the mean.
        elite = elite[plan_returns[elite].isfinite()]
        if not len(elite):
            break
        plans, plan_returns = plans[elite], plan_returns[elite]
        # The maximum-likelihood estimate, which is defined for a single elite as well.
        mean, std = plans.mean(dim=0), plans.std(dim=0, correction=0)
        new_plans = (mean + std * noise(config, start, generator)).clamp(-1, 1)
        # Elites keep their returns: with one seed, a plan always has the same return.
        plans = torch.cat([plans, new_plans])
        new_returns = returns(context, new_plans, config, objective, seed)
        plan_returns = torch.cat([plan_returns, new_returns])
    return best(plans, plan_returns)
