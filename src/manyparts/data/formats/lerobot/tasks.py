"""The tasks of a LeRobotDataset: their texts, their numbers, and which of them each episode has."""

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
    """The tasks in order of their task_index. positions: task_index, as rows have it, to the
    position in `entries`."""

    entries: tuple[TaskEntry, ...]
    positions: Mapping[int, int]

    @cached_property
    def _by_text(self) -> dict[str, int]:
        return {task.instruction: position for position, task in enumerate(self.entries)}

    def listed(self, names: Any) -> tuple[int, ...]:
        """Places of the tasks that metadata lists for an episode; -1 for one that is unknown.
        names: see `texts_of`."""
        return tuple(self._by_text.get(text, -1) for text in dict.fromkeys(texts_of(names)))


def texts_of(names: Any) -> list[str]:
    """What metadata lists as the tasks of an episode: a text, several, or nothing."""
    return [names] if isinstance(names, str) else [str(name) for name in names or ()]


def choose_task(listed: Sequence[int], of_rows: int | None) -> int | None:
    """Which task an episode has: that of its first row, as LeRobot reads it, else the first that
    metadata lists.

    Args:
        listed: what metadata lists for it, in any order; -1 for an unknown task.
        of_rows: the task of its first row, None where that says nothing.

    Returns:
        None if neither tells.
    """
    return next(
        (position for position in (of_rows, *listed) if position is not None and position >= 0),
        None,
    )


def own_tasks(entries: tuple[TaskEntry, ...]) -> TaskTable:
    """Of a dataset that this project wrote: its tasks are numbered as they are listed."""
    return TaskTable(entries, {number: number for number in range(len(entries))})


def read_table(path: Path, asked: Iterable[Any]) -> TaskTable:
    """tasks.parquet of version 3. asked: what metadata lists for each episode, which tells the
    column of texts where several could be it."""
    file = path / layout.TASKS
    with parquet_errors(file):
        table = open_parquet(file).read(use_threads=False)
    numbers = table[_INDEX].to_pylist() if _INDEX in table.column_names else range(table.num_rows)
    named = {text for names in asked for text in texts_of(names)}
    return _numbered(
        whole_numbers(list(numbers), f"{file}: {_INDEX}").tolist(), _texts(table, named, file)
    )


def read_lines(path: Path) -> TaskTable:
    """tasks.jsonl of version 2."""
    rows = read_json_lines(path / OLD_TASKS)
    numbers = whole_numbers([row[_INDEX] for row in rows], f"{path / OLD_TASKS}: {_INDEX}")
    return _numbered(numbers.tolist(), [str(row["task"]) for row in rows])


def _numbered(numbers: Sequence[int], texts: Sequence[str]) -> TaskTable:
    listed = dict(zip(numbers, texts, strict=True))
    entries = tuple(
        TaskEntry(f"unknown/{position}", listed[number])
        for position, number in enumerate(sorted(listed))
    )
    return TaskTable(entries, {number: position for position, number in enumerate(sorted(listed))})


def _texts(table: pa.Table, named: set[str], file: Path) -> list[str]:
    """The texts by which episodes name their tasks: pandas' index, the column `task`, or any other
    column of texts."""
    candidates = [
        name
        for name in (*_pandas_index(table), "task", *table.column_names)
        if name in table.column_names
    ]
    columns = [table[name].to_pylist() for name in dict.fromkeys(candidates) if name != _INDEX]
    columns = [values for values in columns if all(isinstance(value, str) for value in values)]
    if not columns:
        raise UserError(f"{file} has no column of task texts")
    return next((values for values in columns if named <= set(values)), columns[0])


def _pandas_index(table: pa.Table) -> list[str]:
    try:
        described = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
        return [name for name in described.get("index_columns", []) if isinstance(name, str)]
    except (ValueError, AttributeError, TypeError):
        return []
