"""What is recorded of one evaluated episode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class EpisodeRecord:
    """One evaluated episode."""

    task: str
    """Full name of the task, "suite/task"."""

    index: int
    """Its number within the task."""

    seed: int
    """The environment's seed."""

    prompt: str | None
    """The instruction that the agent got; None without one."""

    success_any: bool
    """Whether the task was solved after any step."""

    success_last: bool
    """Whether it was solved after the last step."""

    return_: float
    """Sum of rewards."""

    length: int
    """Steps."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """The suite's own measures by name, such as "spl"."""

    def measure(self, name: str) -> float:
        """One of `MEASURES`, or of the suite's own."""
        if name in self.metrics:
            return float(self.metrics[name])
        return float(getattr(self, "return_" if name == "return" else name))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `return_` is called "return"."""
        return {key.rstrip("_"): value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpisodeRecord:
        """The inverse of `to_dict`."""
        return cls(
            **{"return_" if key == "return" else key: value for key, value in values.items()}
        )
