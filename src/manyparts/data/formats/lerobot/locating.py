"""Where the rows of each episode lie, by what the rows say of themselves and not by what metadata
says of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import parquet_errors
from manyparts.data.formats.files import open_parquet
from manyparts.data.formats.lerobot.values import whole_column

EPISODE, FRAME, TASK = "episode_index", "frame_index", "task_index"


_INDICES = (EPISODE, FRAME, TASK)


@dataclass(frozen=True)
class EpisodeRows:
    """Rows of one file that say they are of one episode. chosen: which of rows start to stop; None:
    all of them.

    frames: their frame_index, where it has been read and is not 0, 1, 2, ... in this order. tasks:
    their first task_index, the lowest and the highest; None where the file has none.
    """

    file: Path
    start: int
    stop: int
    chosen: np.ndarray | None = None
    frames: np.ndarray | None = None
    tasks: tuple[int, int, int] | None = None

    @property
    def count(self) -> int:
        return self.stop - self.start if self.chosen is None else len(self.chosen)


@dataclass(frozen=True)
class DataFile:
    """What one parquet file holds: how many rows, its columns of numbers and its other columns, and
    its episodes by episode_index; None if it has no such column."""

    count: int
    numbers: frozenset[str]
    others: frozenset[str]
    episodes: Mapping[int, EpisodeRows] | None


def read_data_file(file: Path) -> DataFile:
    """Which episodes a data file holds. Row groups' statistics are believed where each holds one
    whole episode, else the columns are read. Raises UserError naming the file where it is torn, or
    its numbers are none."""
    with parquet_errors(file):
        opened = open_parquet(file)
        schema = opened.schema_arrow
        numbers, others = _kinds(schema)
        episodes = None
        if EPISODE in schema.names:
            episodes = _by_statistics(file, opened.metadata)
            if episodes is None:
                episodes = _by_values(file, opened)
        return DataFile(opened.metadata.num_rows, numbers, others, episodes)


def why_untrusted(parts: Sequence[EpisodeRows], length: int) -> str | None:
    """Why an episode's rows, from wherever they lie, are not to be trusted. length: what metadata
    counts."""
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
    """The task_index of an episode's first row; None where the rows do not say it."""
    first = min(
        parts, key=lambda part: 0 if part.frames is None else int(part.frames.min()), default=None
    )
    return None if first is None or first.tasks is None else first.tasks[0]


def order_of(frames: np.ndarray) -> np.ndarray | str | None:
    """How rows of these frame numbers have to be sorted; None: they are; a text: why they cannot
    be."""
    wanted = np.arange(len(frames))
    if np.array_equal(frames, wanted):
        return None
    order = np.argsort(frames, kind="stable")
    if np.array_equal(frames[order], wanted):
        return order
    return f"its frame_index is not 0 to {len(frames) - 1}, each once"


def _by_statistics(file: Path, metadata: pq.FileMetaData) -> dict[int, EpisodeRows] | None:
    """None where statistics are not there, or tell of anything but a whole episode a row group."""
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
        episodes[episode[0]] = EpisodeRows(
            file, start, stop, tasks=None if task is None else (task[0], *task)
        )
        start = stop
    return episodes


def _range(statistics: Any) -> tuple[int, int] | None:
    """Least and greatest of a column of whole numbers without gaps."""
    if statistics is None or not statistics.has_min_max or statistics.null_count:
        return None
    low, high = statistics.min, statistics.max
    return (low, high) if isinstance(low, int) and isinstance(high, int) else None


def _by_values(file: Path, opened: pq.ParquetFile) -> dict[int, EpisodeRows]:
    columns = [name for name in _INDICES if name in opened.schema_arrow.names]
    table = opened.read(columns=columns, use_threads=False)
    episodes = whole_column(table, EPISODE, f"{file}: {EPISODE}")
    frames = whole_column(table, FRAME, f"{file}: {FRAME}") if FRAME in columns else None
    tasks = _tasks(table) if TASK in columns else None
    if not len(episodes):
        return {}
    order = np.argsort(episodes, kind="stable")
    begins = np.flatnonzero(np.diff(episodes[order], prepend=episodes[order[0]] - 1))
    ends = np.append(begins[1:], len(order))
    counted = np.arange(len(order)) - np.repeat(begins, ends - begins)
    strange = np.zeros(len(order), bool) if frames is None else frames[order] != counted
    parts: dict[int, EpisodeRows] = {}
    for begin, end, any_strange in zip(
        begins, ends, np.logical_or.reduceat(strange, begins), strict=True
    ):
        rows = order[begin:end]
        start, stop = int(rows[0]), int(rows[-1]) + 1
        chosen = None if stop - start == len(rows) else rows - start
        own = frames[rows] if any_strange and frames is not None else None
        first = start if own is None else rows[np.argmin(own)]
        of_tasks = (
            None
            if tasks is None
            else (int(tasks[first]), int(tasks[rows].min()), int(tasks[rows].max()))
        )
        parts[int(episodes[start])] = EpisodeRows(file, start, stop, chosen, own, of_tasks)
    return parts


def _tasks(table: pa.Table) -> np.ndarray | None:
    """None where they are no whole numbers: an episode may have its task by metadata."""
    try:
        return whole_column(table, TASK, TASK)
    except UserError:
        return None


@lru_cache(maxsize=16)
def _kinds(schema: pa.Schema) -> tuple[frozenset[str], frozenset[str]]:
    """The columns that hold numbers, and the others."""
    numbers = frozenset(field.name for field in schema if _holds_numbers(field.type))
    return numbers, frozenset(schema.names) - numbers


def _holds_numbers(kind: pa.DataType) -> bool:
    """Whether a column is numbers or truth values, alone or in lists of any depth."""
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
