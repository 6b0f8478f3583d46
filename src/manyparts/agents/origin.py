"""The origin of a loaded agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from manyparts.core.records import Precision
from manyparts.planners import PlannerConfig


@dataclass(frozen=True)
class Origin:
    """Where an agent was loaded from and how, so that another process can load the same one."""

    run: Path
    """The path that the caller asked for."""

    checkpoint: Path
    """The folder of weights that this path meant."""

    device: str
    """Device of the weights."""

    embodiment: str | None = None
    """The embodiment that the caller asked for; None for the only one."""

    precision: Precision = "fp32"
    """Precision of matrix products."""

    planner: PlannerConfig | None = None
    """The planner of a dynamics model; None for a policy."""

    own_objective: bool = False
    """Whether it plans for an objective that only this process has."""
