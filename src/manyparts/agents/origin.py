"""Where an agent was loaded from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from manyparts.core.records import Precision
from manyparts.planners import PlannerConfig


@dataclass(frozen=True)
class Origin:
    """Where an agent was loaded from and how, so that another process can load the same one.

    run: as it was asked for. checkpoint: the folder of weights that this meant. embodiment: the one
    that was asked for, None for the only one. own_objective: whether it seeks what only this
    process knows.
    """

    run: Path
    checkpoint: Path
    device: str
    embodiment: str | None = None
    precision: Precision = "fp32"
    planner: PlannerConfig | None = None
    own_objective: bool = False
