"""Planners by name.

Each is a pure function from a world model's context, a config and a random generator to a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError, closest
from manyparts.core.plugins import Plugins, instance_of
from manyparts.core.printing import short
from manyparts.models.dynamics.world_model import Context
from manyparts.planners.cem import CemConfig, cem
from manyparts.planners.follow import FollowConfig, follow
from manyparts.planners.mppi import MppiConfig, mppi
from manyparts.planners.plans import Plan, SearchConfig, StepValue, predicted_reward
from manyparts.planners.random_shooting import RandomShootingConfig, random_shooting

PlannerConfig = SearchConfig | FollowConfig
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


@dataclass(frozen=True)
class Planner:
    """A planner of a plug-in."""

    config: type[SearchConfig]
    """The class of its settings."""

    plan: Callable[..., Plan]
    """The function, with the arguments of `manyparts.planners.plan`."""


def _checked(name: str, value: Any) -> Planner:
    planner = instance_of(Planner)(name, value)
    if not (isinstance(planner.config, type) and issubclass(planner.config, SearchConfig)):
        raise TypeError(f"its config is {short(planner.config)}, not a subclass of SearchConfig")
    if planner.config in _FUNCTIONS:
        raise TypeError(f"its config {planner.config.__name__} is another planner's")
    return planner


PLUGINS = Plugins("planners", lambda: PLANNERS, _checked)
"""Planners of other distributions, entry points of the group `manyparts.planners`."""


def planner_names() -> list[str]:
    """The names of all planners. Those of plug-ins, which come last, may not load."""
    return [*PLANNERS, *PLUGINS.names()]


def planner_config(name: str) -> type[PlannerConfig]:
    """The class of a planner's settings.

    Raises:
        UserError: There is no such planner, or it is a plug-in's that does not load.
    """
    if name in PLANNERS:
        return PLANNERS[name]
    if name not in PLUGINS.names():
        raise UserError(f"unknown planner {name!r}; {closest(name, planner_names())}")
    return PLUGINS.load(name).config


def searches(class_name: str) -> tuple[type[SearchConfig], ...]:
    """The classes of settings of all planners that search.

    Args:
        class_name: The name of one of them. Plug-ins are loaded if it is none of this package's.
    """
    own = tuple(kind for kind in PLANNERS.values() if issubclass(kind, SearchConfig))
    if class_name in {kind.__name__ for kind in own}:
        return own
    return (*own, *(each.config for each in PLUGINS.load_all().values()))


def name_of(class_name: str) -> str | None:
    """The name of the planner with a class of settings; None if there is none here.

    Args:
        class_name: The name of that class.
    """
    own = [name for name, kind in PLANNERS.items() if kind.__name__ == class_name]
    if own:
        return own[0]
    of_plugins = PLUGINS.load_all().items()
    return next((name for name, each in of_plugins if each.config.__name__ == class_name), None)


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
    return _function(type(config))(
        context, config, generator, start, objective=objective, proposals=proposals
    )


def _function(config: type) -> Callable[..., Plan]:
    # By the exact type: configs of searches inherit from one another's base.
    if config in _FUNCTIONS:
        return _FUNCTIONS[config]
    # A process that acts gets the config alone, and has loaded no plug-in yet.
    functions = {each.config: each.plan for each in PLUGINS.load_all().values()}
    if config not in functions:
        raise UserError(f"no planner has the settings {config.__name__}; is it a plug-in's?")
    return functions[config]
