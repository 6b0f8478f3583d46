"""One embodiment of an agent: its spec, environment, statistics and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manyparts.core.printing import shown_short
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.spec import Spec, TaskEntry
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.statistics import Statistics


@shown_short
@dataclass(frozen=True)
class Embodiment:
    """One robot that a model was trained on."""

    spec: Spec
    """Its cameras, states and actions."""

    environment: Mapping[str, Any]
    """The config of its environment, as JSON values."""

    statistics: Statistics
    """By which its states are normalised."""

    tasks: tuple[TaskEntry, ...]
    """The tasks that this run was trained on; empty if the embodiment was only kept from an earlier
    run."""

    @property
    def codec(self) -> Codec:
        """Between its states and actions and the model's."""
        return Codec.of(self.spec, self.statistics)

    def to_dict(self) -> dict[str, Any]:
        """The embodiment as JSON values."""
        return {
            "spec": self.spec.to_dict(),
            "environment": self.environment,
            "statistics": self.statistics.to_dict(),
            "tasks": to_jsonable(self.tasks),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Embodiment:
        """The inverse of `to_dict`."""
        return cls(
            Spec.from_dict(values["spec"]),
            values["environment"],
            Statistics.from_dict(values["statistics"]),
            tuple(from_jsonable(TaskEntry, task) for task in values["tasks"]),
        )
