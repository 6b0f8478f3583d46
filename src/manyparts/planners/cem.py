"""The cross-entropy method: draw plans, keep the elites, draw anew where these are, and so on."""

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
    """Elites stay among the candidates of the next iteration (Pinneri et al. 2020, arXiv
    2008.06389), so that no iteration makes the plan worse."""

    elites: int = 16
    """The best plans, whose mean and std the next iteration draws from."""

    iterations: int = 3
    """Rounds of drawing, each with so many candidates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.elites <= self.candidates:
            raise UserError(
                f"planner.elites is {self.elites}; expected 2 to planner.candidates, {self.candidates}"
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
    """The best plan of all iterations (Rubinstein 1999). The first one draws around `start`, the
    last plan moved on by a step, and around proposals.

    Raises UserError if the model's predictions are not finite under any plan.
    """
    seed = imagination_seed(generator)
    plans = candidates(start, start, config, generator, proposals)
    found = returns(context, plans, config, objective, seed)
    for _ in range(config.iterations - 1):
        elite = found.argsort(descending=True, stable=True)[: config.elites]
        elite = elite[found[elite].isfinite()]
        if not len(elite):
            break
        plans, found = plans[elite], found[elite]
        mean, std = plans.mean(dim=0), plans.std(dim=0, correction=0)
        fresh = (mean + std * noise(config, start, generator)).clamp(-1, 1)
        plans = torch.cat([plans, fresh])
        found = torch.cat([found, returns(context, fresh, config, objective, seed)])
    return best(plans, found)
