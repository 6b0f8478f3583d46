"""Planners by name.

Each is a pure function from a world model's context, a config and a random generator to a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.models.dynamics.world_model import Context
from manyparts.planners.cem import CemConfig, cem
from manyparts.planners.follow import FollowConfig, follow
from manyparts.planners.mppi import MppiConfig, mppi
from manyparts.planners.plans import Plan, StepValue, predicted_reward
from manyparts.planners.random_shooting import RandomShootingConfig, random_shooting

PlannerConfig = RandomShootingConfig | CemConfig | MppiConfig | FollowConfig
PLANNERS: Mapping[str, type[PlannerConfig]] = {
    "random-shooting": RandomShootingConfig,
    "cem": CemConfig,
    "mppi": MppiConfig,
    "policy": FollowConfig,
}
_FUNCTIONS: Mapping[type, Callable[..., Plan]] = {
    RandomShootingConfig: random_shooting,
    CemConfig: cem,
    MppiConfig: mppi,
    FollowConfig: follow,
}


def plan(
    context: Context,
    config: PlannerConfig,
    generator: torch.Generator,
    start: Float[Tensor, "t a"],
    *,
    objective: StepValue = predicted_reward,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Plan:
    """Return the plan of the config's planner.

    Args:
        context: What the world model has seen so far.
        config: Which planner, and its settings.
        generator: Source of all that is drawn.
        start: The plan to improve, usually the last one moved on by a step; see `moved_on`.
        objective: What a step is worth.
        proposals: Plans (p, t, a) that are tried, and around which some candidates are drawn.

    Raises:
        UserError: The planner cannot use the context, the objective or the proposals, or no plan
            has a finite return.
    """
    # By the exact type: configs of searches inherit from one another's base.
    return _FUNCTIONS[type(config)](
        context, config, generator, start, objective=objective, proposals=proposals
    )
