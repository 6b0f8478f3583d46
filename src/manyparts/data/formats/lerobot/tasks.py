"""The tasks of a LeRobotDataset: their instructions, their indices, and that of each episode."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyparts.core.errors import UserError
from manyparts.core.spec import TaskEntry
from manyparts.data.formats.errors import parquet_errors
from manyparts.data.formats.files import open_parquet
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.values import read_json_lines, whole_numbers

OLD_TASKS = "meta/tasks.jsonl"
_INDEX = "task_index"


@dataclass(frozen=True)
class TaskTable:
    """All tasks of a dataset."""

    entries: tuple[TaskEntry, ...]
    """The tasks in order of their task_index."""
    positions: Mapping[int, int]
    """task_index, as rows have it, to the position in `entries`."""

    @cached_property
    def _by_text(self) -> dict[str, int]:
        return {task.instruction: position for position, task in enumerate(self.entries)}

    def listed(self, names: Any) -> tuple[int, ...]:
        """Positions of the tasks that metadata lists for an episode, see `texts_of`; -1 for an
        unknown task."""
        return tuple(self._by_text.get(text, -1) for text in dict.fromkeys(texts_of(names)))


def texts_of(names: Any) -> list[str]:
    """The tasks that metadata lists for an episode, from one text, several, or None."""
    return [names] if isinstance(names, str) else [str(name) for name in names or ()]


def choose_task(listed: Sequence[int], of_rows: int | None) -> int | None:
    """The task of an episode: that of its first row, as in LeRobot, else the first listed one.

    Args:
        listed: positions of the tasks that metadata lists; -1 for an unknown one.
        of_rows: the position of its first row's task; None if unknown.

    Returns:
        The task's position; None if neither is known.
    """
    for position in (of_rows, *listed):
        if position is not None and position >= 0:
            return position
    return None


def own_tasks(entries: tuple[TaskEntry, ...]) -> TaskTable:
    """The tasks of a dataset that manyparts wrote: task_index is the position."""
    return TaskTable(entries, {number: number for number in range(len(entries))})


def read_table(path: Path, task_names: Iterable[Any]) -> TaskTable:
    """Read tasks.parquet of version 3.

    Args:
        path: the dataset's folder.
        task_names: what metadata lists for each episode. Of several columns of texts, the one that
            contains all of these holds the tasks.
    """
    listed: set[str] = set()
    for names in task_names:
        listed |= set(texts_of(names))
    return _task_table(*_numbers_and_texts(path / layout.TASKS, _INDEX, "task", listed))


def read_numbered_texts(file: Path, index: str, name: str) -> dict[int, str]:
    """Read a table of numbers and texts, as LeRobot writes it for tasks and subtasks.

    Args:
        file: the parquet file.
        index: the column of the numbers.
        name: the column of the texts; pandas' index comes first.

    Raises:
        UserError: naming the file that is torn, or holds two texts of one number.
    """
    numbers, texts = _numbers_and_texts(file, index, name, set())
    if len(set(numbers)) != len(numbers):
        raise UserError(f"{file} holds two texts of one {index}")
    return dict(zip(numbers, texts, strict=True))


def read_lines(path: Path) -> TaskTable:
    """Read tasks.jsonl of version 2."""
    rows = read_json_lines(path / OLD_TASKS)
    numbers = whole_numbers([row[_INDEX] for row in rows], f"{path / OLD_TASKS}: {_INDEX}")
    return _task_table(numbers.tolist(), [str(row["task"]) for row in rows])


def _task_table(numbers: Sequence[int], texts: Sequence[str]) -> TaskTable:
    listed = dict(zip(numbers, texts, strict=True))
    entries = tuple(
        TaskEntry(f"unknown/{position}", listed[number])
        for position, number in enumerate(sorted(listed))
    )
    return TaskTable(entries, {number: position for position, number in enumerate(sorted(listed))})


def _numbers_and_texts(
    file: Path, index: str, name: str, listed: set[str]
) -> tuple[list[int], list[str]]:
    """The columns of a table: the texts are pandas' index, the column `name`, or another one that
    holds all texts of `listed`."""
    with parquet_errors(file):
        table = open_parquet(file).read(use_threads=False)
    numbers = table[index].to_pylist() if index in table.column_names else range(table.num_rows)
    candidates = [
        column
        for column in (*_pandas_index(table), name, *table.column_names)
        if column in table.column_names
    ]
    columns = [table[column].to_pylist() for column in dict.fromkeys(candidates) if column != index]
    columns = [values for values in columns if all(isinstance(value, str) for value in values)]
    if not columns:
        raise UserError(f"{file} has no column of {name} texts")
    texts = next((values for values in columns if listed <= set(values)), columns[0])
    return whole_numbers(list(numbers), f"{file}: {index}").tolist(), texts


def _pandas_index(table: pa.Table) -> list[str]:
    try:
        described = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
        return [name for name in described.get("index_columns", []) if isinstance(name, str)]
    except (ValueError, AttributeError, TypeError):
        return []
