"""The result of a check of `manyparts doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    """What was checked."""

    works: bool
    """Whether it works."""

    detail: str
    """Version, device and so on, or what is wrong."""

    required: bool = True
    """Whether the main job (Meta-World, both phases, evaluation with videos) needs it."""

    mend: str = ""
    """The command that repairs it; empty if nothing is missing."""
