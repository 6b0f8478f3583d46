"""The description that manyparts adds to files of other formats, so that converting back loses
nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.formats.errors import format_errors


@dataclass(frozen=True)
class DatasetDescription:
    """The description of a dataset that manyparts wrote."""

    spec: Spec
    """The robot's cameras, state and actions."""
    fps: float
    """Frames per second."""
    tasks: tuple[TaskEntry, ...]
    """All tasks, in order of their index."""
    environment: Mapping[str, Any]
    """The EnvConfig as JSON."""
    terminates: bool = False
    """Whether the file says which episodes ended for good."""
    knows_reward: bool = True
    """Whether its rewards are any; the format has them, so that they are zeros otherwise."""

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON values."""
        values: dict[str, Any] = {
            "spec": self.spec.to_dict(),
            "fps": self.fps,
            "tasks": tasks_to_json(self.tasks),
            "environment": json.loads(json.dumps(dict(self.environment))),
        }
        values |= {"terminates": True} if self.terminates else {}
        return values | ({} if self.knows_reward else {"knows_reward": False})

    def task_numbers(self) -> dict[str, int]:
        """The index of each task by its name."""
        return {task.name: number for number, task in enumerate(self.tasks)}

    @classmethod
    def read(cls, values: Mapping[str, Any], where: Path) -> DatasetDescription | None:
        """The inverse of `to_dict`.

        Args:
            values: what `to_dict` returned, or nothing.
            where: the file that they are from, for the error.

        Returns:
            The description; None for empty values, where another program wrote the file.

        Raises:
            UserError: an entry is missing or of a wrong type.
        """
        if not values:
            return None
        with format_errors(where, "manyparts"):
            return cls(
                Spec.from_dict(values["spec"]),
                float(values["fps"]),
                read_tasks(values["tasks"]),
                dict(values["environment"]),
                bool(values.get("terminates", False)),
                bool(values.get("knows_reward", True)),
            )


def read_tasks(values: Sequence[Mapping[str, Any]]) -> tuple[TaskEntry, ...]:
    """The tasks from their JSON values."""
    return tuple(
        TaskEntry(item["name"], item["sentence"], tuple(item["paraphrases"])) for item in values
    )


def tasks_to_json(tasks: Iterable[TaskEntry]) -> list[dict[str, Any]]:
    """The inverse of `read_tasks`."""
    return [
        {"name": task.name, "sentence": task.instruction, "paraphrases": list(task.paraphrases)}
        for task in tasks
    ]
