"""The plans that a search draws first, for people who want to look at them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.planners.cem import CemConfig
from manyparts.planners.mppi import MppiConfig
from manyparts.planners.plans import SearchConfig, candidates
from manyparts.planners.random_shooting import RandomShootingConfig


def first_candidates(
    config: object,
    start: Float[Tensor, "t a"],
    generator: torch.Generator,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Float[Tensor, "n t a"]:
    """Return the plans that a planner tries first, in its order.

    Args:
        config: The planner's settings.
        start: The plan that it improves.
        generator: As the planner gets it; it is used up.
        proposals: Plans (p, t, a) that it tries as well.

    Returns:
        No plans for a planner that draws none, or a plug-in's, which draws them in its own way.
    """
    # By the exact type: a planner of a plug-in may inherit another one's settings.
    if type(config) not in (RandomShootingConfig, CemConfig, MppiConfig):
        return start[None][:0]
    assert isinstance(config, SearchConfig)
    # Random shooting draws around the middle of every action's range, the others around `start`.
    centre = torch.zeros_like(start) if type(config) is RandomShootingConfig else start
    return candidates(start, centre, config, generator, proposals)
