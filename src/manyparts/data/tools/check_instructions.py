"""Whether a dataset's instructions say what to do: empty ones, names in their place, one that
several tasks share."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from manyparts.core.spec import TaskEntry
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.findings import Finding

_REMEDY = "write each task's own instruction into the dataset"
# One word of several parts, such as "PickPlaceCan", "reach-v3", "libero_goal" or "1.0.0"; but
# "pick_up_the_cube" is an instruction without spaces.
_IDENTIFIER = re.compile(
    r"(?![a-z]+([_-][a-z]+){2,}$)([A-Za-z]+([A-Z][a-z]+)+|(?=\S*[_./\d])[\w./-]+)", re.ASCII
)


def instruction_findings(dataset: EpisodeDataset) -> Iterator[Finding]:
    """Warnings of the tasks that episodes have."""
    counts = np.bincount(dataset.episode_task, minlength=len(dataset.tasks))
    tasks = [(task, int(count)) for task, count in zip(dataset.tasks, counts, strict=True) if count]
    names = _names_of(dataset)
    for task, count in tasks:
        where = f"task {task.name} ({count} episode{'s' if count > 1 else ''})"
        text = task.instruction.strip()
        if not text:
            yield _warn(where, "the instruction is empty")
        elif (
            text.casefold() in names
            or _IDENTIFIER.fullmatch(text)
            or not any(map(str.isalpha, text))
        ):
            yield _warn(
                where,
                f"the instruction {text!r} looks like a name, and not like what is to be done",
            )
    sharing: dict[str, list[TaskEntry]] = {}
    for task, _ in tasks:
        sharing.setdefault(" ".join(task.instruction.casefold().split()), []).append(task)
    for text, sharers in sharing.items():
        if text and len(sharers) > 1:
            which = (
                "all tasks"
                if len(sharers) == len(tasks)
                else ", ".join(task.name for task in sharers[:5])
            )
            yield _warn(
                which, f"{len(sharers)} tasks have one instruction, {sharers[0].instruction!r}"
            )


def _names_of(dataset: EpisodeDataset) -> set[str]:
    """What a dataset or its robot may be called."""
    path = dataset.path.absolute()
    names = {path.name, path.stem, path.parent.name, dataset.spec.embodiment, "unknown"}
    return {name.casefold() for name in names if name}


def _warn(where: str, what: str) -> Finding:
    return Finding("instructions", "warning", where, what, _REMEDY)
