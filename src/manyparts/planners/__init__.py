"""Planners by name. Each is a pure function of a world model's context, a config and a generator,
to a plan."""

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
_SEARCHES: Mapping[type, Callable[..., Plan]] = {
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
    """The plan of the config's planner."""
    return _SEARCHES[type(config)](
        context, config, generator, start, objective=objective, proposals=proposals
    )
