"""Check whether instructions say what to do: some are empty, names, or those of several tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from manyparts.core.printing import counted
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
    """Warnings about the instructions of all tasks that have episodes."""
    counts = np.bincount(dataset.episode_task, minlength=len(dataset.tasks))
    tasks = [(task, int(count)) for task, count in zip(dataset.tasks, counts, strict=True) if count]
    names = _names_of(dataset)
    for task, count in tasks:
        where = f"task {task.name} ({counted(count, 'episode')})"
        text = task.instruction.strip()
        if not text:
            yield _warn(where, "the instruction is empty")
            continue
        is_name = text.casefold() in names or _IDENTIFIER.fullmatch(text)
        if is_name or not any(map(str.isalpha, text)):
            what = f"the instruction {text!r} looks like a name, and does not say what to do"
            yield _warn(where, what)
    by_text: dict[str, list[TaskEntry]] = {}
    for task, _ in tasks:
        by_text.setdefault(" ".join(task.instruction.casefold().split()), []).append(task)
    for text, same in by_text.items():
        if text and len(same) > 1:
            which = "all tasks"
            if len(same) < len(tasks):
                which = ", ".join(task.name for task in same[:5])
            yield _warn(which, f"{len(same)} tasks have one instruction, {same[0].instruction!r}")


def _names_of(dataset: EpisodeDataset) -> set[str]:
    """The names of a dataset, its folder and its robot, in lower case."""
    path = dataset.path.absolute()
    names = {path.name, path.stem, path.parent.name, dataset.spec.embodiment, "unknown"}
    return {name.casefold() for name in names if name}


def _warn(where: str, what: str) -> Finding:
    return Finding("instructions", "warning", where, what, _REMEDY)
