"""One embodiment that weights know: its spec, its environment, its statistics and the tasks that it
was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from manyparts.core.printing import shown_short
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.spec import Spec, TaskEntry
from manyparts.embodiment.statistics import Statistics


@shown_short
@dataclass(frozen=True)
class Embodiment:
    """A body that weights know. environment: its config as plain JSON values. statistics: what its
    states are normalised by. tasks: those that this run was trained on; none where it only kept the
    body of an earlier run."""

    spec: Spec
    environment: Mapping[str, Any]
    statistics: Statistics
    tasks: tuple[TaskEntry, ...]

    def to_dict(self) -> dict[str, Any]:
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        converted = {"spec": self.spec.to_dict(), "statistics": self.statistics.to_dict()}
        return own | converted | {"tasks": to_jsonable(self.tasks)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Embodiment:
        """The inverse of `to_dict`."""
        return cls(
            Spec.from_dict(values["spec"]),
            values["environment"],
            Statistics.from_dict(values["statistics"]),
            tuple(from_jsonable(TaskEntry, task) for task in values["tasks"]),
        )
