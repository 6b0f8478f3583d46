"""What one pass over all demonstrations of a robomimic file collects."""

from __future__ import annotations

from dataclasses import dataclass, field

from manyparts.data.formats.arrays import Plan, StatisticsCollector
from manyparts.data.formats.instructions import StoredInstruction
from manyparts.data.formats.robomimic_demos import Layout


@dataclass(frozen=True)
class DemoLabels:
    """What a demonstration says about its task."""

    instruction: StoredInstruction = field(default_factory=StoredInstruction)
    """The instruction, where another program wrote the file."""
    task: str = ""
    """The task's name, where manyparts wrote the file."""
    seed: int = -1
    """The environment's reset seed, where manyparts wrote the file."""


@dataclass
class Survey:
    """The result of one pass over all demonstrations, by their names."""

    expected: tuple[Layout, Plan] | None
    """The layout that each must have, and how it is read; None: that of the first one."""
    counts: dict[Layout, int] = field(default_factory=dict)
    """Number of demonstrations with each layout."""
    plans: dict[Layout, Plan] = field(default_factory=dict)
    """How observations of each layout are read."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Demonstrations that are not read, and why."""
    lengths: dict[str, int] = field(default_factory=dict)
    """Steps of each demonstration that is read."""
    succeeded: dict[str, bool] = field(default_factory=dict)
    """Whether a demonstration succeeded, where the file says so."""
    labels: dict[str, DemoLabels] = field(default_factory=dict)
    """Instruction or task of each demonstration that is read."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Arrays that are not read, and why."""
    collector: StatisticsCollector = field(default_factory=StatisticsCollector)
    """Statistics of the demonstrations that are read."""

    @property
    def most_frequent(self) -> tuple[Layout, Plan] | None:
        """The layout of most demonstrations, and how it is read."""
        return max(self.plans.items(), key=lambda item: self.counts[item[0]], default=None)
