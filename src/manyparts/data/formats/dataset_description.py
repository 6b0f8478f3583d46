"""What we write into other projects' files beside what they have, so that a dataset comes back as
it went."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.formats.errors import format_errors


@dataclass(frozen=True)
class DatasetDescription:
    """The description of a dataset that this project wrote."""

    spec: Spec
    fps: float
    tasks: tuple[TaskEntry, ...]
    environment: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        tasks = [
            {"name": task.name, "sentence": task.instruction, "paraphrases": list(task.paraphrases)}
            for task in self.tasks
        ]
        return {
            "spec": self.spec.to_dict(),
            "fps": self.fps,
            "tasks": tasks,
            "environment": json.loads(json.dumps(dict(self.environment))),
        }

    def task_numbers(self) -> dict[str, int]:
        """Each task's index by its name."""
        return {task.name: number for number, task in enumerate(self.tasks)}

    @classmethod
    def read(cls, values: Mapping[str, Any], where: Path) -> DatasetDescription | None:
        """The inverse of `to_dict`; None where others wrote, and so nothing is there."""
        if not values:
            return None
        with format_errors(where, "manyparts"):
            return cls(
                Spec.from_dict(values["spec"]),
                float(values["fps"]),
                read_tasks(values["tasks"]),
                dict(values["environment"]),
            )


def read_tasks(values: Sequence[Mapping[str, Any]]) -> tuple[TaskEntry, ...]:
    """Tasks as JSON values hold them."""
    return tuple(
        TaskEntry(item["name"], item["sentence"], tuple(item["paraphrases"])) for item in values
    )
