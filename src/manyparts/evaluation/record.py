"""What is recorded of one evaluated episode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from manyparts.core.errors import UserError

UNKNOWN = "unknown"  # the success of a task that does not say when it is solved


def outcome_of(success: bool | None) -> str:
    """A success in a word: success, failure or unknown."""
    if success is None:
        return UNKNOWN
    return "success" if success else "failure"


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

    success_any: bool | None
    """Whether the task was solved after any step; None where nobody knows."""

    success_last: bool | None
    """Whether it was solved after the last step; None where nobody knows."""

    return_: float
    """Sum of rewards."""

    length: int
    """Steps."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """The suite's own measures by name, such as "spl"."""

    @property
    def outcome(self) -> str:
        """In a word: success, failure or unknown."""
        return outcome_of(self.success_any)

    def measure(self, name: str) -> float:
        """One of `MEASURES`, or of the suite's own.

        Raises:
            UserError: it is a success, and nobody knows it.
        """
        if name in self.metrics:
            return float(self.metrics[name])
        value = getattr(self, "return_" if name == "return" else name)
        if value is None:
            raise UserError(f"success of {self.task} is unknown; choices: return, length")
        return float(value)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `return_` is called "return"."""
        return {key.rstrip("_"): value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpisodeRecord:
        """The inverse of `to_dict`."""
        return cls(
            **{"return_" if key == "return" else key: value for key, value in values.items()}
        )
