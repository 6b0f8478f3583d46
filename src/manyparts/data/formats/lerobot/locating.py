"""Find the rows of each episode by their own columns, and not by what metadata says of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import parquet_errors
from manyparts.data.formats.files import open_parquet
from manyparts.data.formats.lerobot.values import whole_column

EPISODE, FRAME, TASK = "episode_index", "frame_index", "task_index"
_INDICES = (EPISODE, FRAME, TASK)
# Rows have a time and indices of their own. Written for their size alone, they took an eighth of a
# byte; files that claim far more rows than that would fill the memory.
_FEW_ROWS, _ROWS_PER_BYTE = 100_000, 64


class TaskRange(NamedTuple):
    """The values of task_index in some rows."""

    first: int
    low: int
    high: int


@dataclass(frozen=True)
class EpisodeRows:
    """Rows of one file that belong to one episode by their episode_index."""

    file: Path
    """The parquet file."""
    start: int
    """The first row."""
    stop: int
    """The row after the last one."""
    chosen: np.ndarray | None = None
    """int64 (n,), which rows from start to stop, counted from start; None: all of them."""
    frames: np.ndarray | None = None
    """int64 (n,), their frame_index, if it was read and is not 0, 1, 2, ... in this order."""
    tasks: TaskRange | None = None
    """Their task_index; None where the file has none."""

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.stop - self.start if self.chosen is None else len(self.chosen)


@dataclass(frozen=True)
class DataFile:
    """The content of one parquet file."""

    count: int
    """Number of rows."""
    numbers: frozenset[str]
    """Columns of numbers."""
    others: frozenset[str]
    """Other columns."""
    episodes: Mapping[int, EpisodeRows] | None
    """Rows by episode_index; None if there is no such column."""


def read_data_file(file: Path) -> DataFile:
    """Find the episodes of a data file.

    The statistics of row groups are used where each group is one whole episode; else the index
    columns are read.

    Raises:
        UserError: naming the file that is torn, or has indices that are no integers.
    """
    with parquet_errors(file):
        opened = open_parquet(file)
        count, size = opened.metadata.num_rows, file.stat().st_size
        if count > _FEW_ROWS + _ROWS_PER_BYTE * size:
            raise UserError(f"{file} says that it has {count} rows in {size} bytes")
        schema = opened.schema_arrow
        numbers, others = _kinds(schema)
        episodes = None
        if EPISODE in schema.names:
            episodes = _by_statistics(file, opened.metadata)
            if episodes is None:
                episodes = _by_values(file, opened)
        return DataFile(opened.metadata.num_rows, numbers, others, episodes)


def why_untrusted(parts: Sequence[EpisodeRows], length: int) -> str | None:
    """Why an episode's rows, from all files, cannot be trusted; None if they can.

    Args:
        parts: the episode's rows.
        length: its number of frames by metadata.
    """
    count = sum(part.count for part in parts)
    if not length:
        return "it has no frames"
    if not count:
        return "its rows are in none of the data files"
    if count != length:
        return f"it has {count} rows; meta/episodes counts {length}"
    if len(parts) == 1 and parts[0].frames is None:
        return None
    order = order_of(
        np.concatenate(
            [np.arange(part.count) if part.frames is None else part.frames for part in parts]
        )
    )
    return order if isinstance(order, str) else None


def first_task(parts: Sequence[EpisodeRows]) -> int | None:
    """The task_index of an episode's first row; None where the rows have none."""
    first = min(
        parts, key=lambda part: 0 if part.frames is None else int(part.frames.min()), default=None
    )
    return None if first is None or first.tasks is None else first.tasks.first


def order_of(frames: np.ndarray) -> np.ndarray | str | None:
    """How to sort rows by their frame_index.

    Args:
        frames: int64 (n,).

    Returns:
        int64 (n,), the order; None if they are sorted; a text if they cannot be: why.
    """
    expected = np.arange(len(frames))
    if np.array_equal(frames, expected):
        return None
    order = np.argsort(frames, kind="stable")
    if np.array_equal(frames[order], expected):
        return order
    return f"its frame_index is not 0 to {len(frames) - 1}, each once"


def _by_statistics(file: Path, metadata: pq.FileMetaData) -> dict[int, EpisodeRows] | None:
    """The episodes by statistics; None if these are missing, or a row group is no whole episode."""
    columns = {
        metadata.schema.column(number).path: number for number in range(metadata.num_columns)
    }
    episodes: dict[int, EpisodeRows] = {}
    start = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        stop = start + group.num_rows
        ranges = {
            name: _range(group.column(columns[name]).statistics)
            for name in _INDICES
            if name in columns
        }
        episode, frames = ranges.get(EPISODE), ranges.get(FRAME, (0, group.num_rows - 1))
        if (
            episode is None
            or episode[0] != episode[1]
            or frames != (0, group.num_rows - 1)
            or episode[0] in episodes
        ):
            return None
        task = ranges.get(TASK)
        if TASK in ranges and (task is None or task[0] != task[1]):
            return None
        tasks = None if task is None else TaskRange(task[0], *task)
        episodes[episode[0]] = EpisodeRows(file, start, stop, tasks=tasks)
        start = stop
    return episodes


def _range(statistics: Any) -> tuple[int, int] | None:
    """Minimum and maximum of a column of integers without null."""
    if statistics is None or not statistics.has_min_max or statistics.null_count:
        return None
    low, high = statistics.min, statistics.max
    return (low, high) if isinstance(low, int) and isinstance(high, int) else None


def _by_values(file: Path, opened: pq.ParquetFile) -> dict[int, EpisodeRows]:
    """The episodes by the values of the index columns."""
    columns = [name for name in _INDICES if name in opened.schema_arrow.names]
    table = opened.read(columns=columns, use_threads=False)
    episodes = whole_column(table, EPISODE, f"{file}: {EPISODE}")
    frames = whole_column(table, FRAME, f"{file}: {FRAME}") if FRAME in columns else None
    tasks = _tasks(table) if TASK in columns else None
    if not len(episodes):
        return {}
    # Rows sorted by episode, without changing their order within one: `begins` and `ends` bound
    # the episodes in `order`.
    order = np.argsort(episodes, kind="stable")
    begins = np.flatnonzero(np.diff(episodes[order], prepend=episodes[order[0]] - 1))
    ends = np.append(begins[1:], len(order))
    expected = np.arange(len(order)) - np.repeat(begins, ends - begins)
    unsorted = np.zeros(len(order), bool) if frames is None else frames[order] != expected
    any_unsorted = np.logical_or.reduceat(unsorted, begins)
    parts: dict[int, EpisodeRows] = {}
    for begin, end, is_unsorted in zip(begins, ends, any_unsorted, strict=True):
        rows = order[begin:end]
        start, stop = int(rows[0]), int(rows[-1]) + 1
        chosen = None if stop - start == len(rows) else rows - start
        of_episode = frames[rows] if is_unsorted and frames is not None else None
        first = start if of_episode is None else rows[np.argmin(of_episode)]
        task_range = None
        if tasks is not None:
            task_range = TaskRange(
                int(tasks[first]), int(tasks[rows].min()), int(tasks[rows].max())
            )
        parts[int(episodes[start])] = EpisodeRows(file, start, stop, chosen, of_episode, task_range)
    return parts


def _tasks(table: pa.Table) -> np.ndarray | None:
    """The task_index; None if it is no integers: an episode's task may be in metadata."""
    try:
        return whole_column(table, TASK, TASK)
    except UserError:
        return None


@lru_cache(maxsize=16)
def _kinds(schema: pa.Schema) -> tuple[frozenset[str], frozenset[str]]:
    """The columns of numbers, and the others."""
    numbers = frozenset(field.name for field in schema if _holds_numbers(field.type))
    return numbers, frozenset(schema.names) - numbers


def _holds_numbers(kind: pa.DataType) -> bool:
    """Whether a column is numbers or booleans, alone or in lists of any depth."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif (
            pa.types.is_list(kind)
            or pa.types.is_fixed_size_list(kind)
            or pa.types.is_large_list(kind)
        ):
            kind = kind.value_type
        else:
            return (
                pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            )
