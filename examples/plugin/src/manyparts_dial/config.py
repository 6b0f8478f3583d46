"""The config of the objective, apart from it: a preset's help needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from manyparts.objectives.configs import ObjectiveConfig


@dataclass(frozen=True)
class StateChangeConfig(ObjectiveConfig):
    """Settings of `StateChange`."""

    hidden: int = 64
    """Width of the head's hidden layer."""
