"""Read rows of the data files of a LeRobotDataset; each thread keeps one file open."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import parquet_errors
from manyparts.data.formats.files import open_parquet
from manyparts.data.formats.lerobot.locating import FRAME, EpisodeRows, order_of
from manyparts.data.formats.lerobot.values import whole_column

_MAX_KEPT_BYTES, _BUFFER_BYTES = 2**28, 2**16


@dataclass
class _OpenFile:
    """An opened data file."""

    file: Path
    """Its path."""
    content: pq.ParquetFile
    """The opened file."""
    columns: frozenset[str]
    """The names of its columns."""
    offsets: np.ndarray
    """int64, the first row of each row group, and the number of rows."""
    kept: dict[tuple[str, ...], tuple[range, pa.Table]] = field(default_factory=dict)
    """The row groups that were read last, by the columns read."""


class Tables:
    """The data files of one dataset. Threads can use it at the same time."""

    def __init__(self) -> None:
        self._opened = threading.local()

    def read(self, parts: Sequence[EpisodeRows], columns: Sequence[str], episode: str) -> pa.Table:
        """Read some columns of one episode, in the order of frame_index.

        Args:
            parts: the episode's rows.
            columns: the names of the columns.
            episode: the episode's name, for errors.

        Raises:
            UserError: naming the file that is torn, lacks a column, or has a frame_index that is
                not 0, 1, 2, ...
        """
        tables = [self._read_part(part, tuple(columns)) for part in parts]
        table = (
            pa.concat_tables(tables, promote_options="permissive") if len(tables) > 1 else tables[0]
        )
        if FRAME not in table.column_names:
            return table
        order = order_of(
            whole_column(table, FRAME, f"{parts[0].file}: {FRAME} of episode {episode}")
        )
        if isinstance(order, str):
            raise UserError(
                f"{parts[0].file}: episode {episode}: {order}; "
                "`manyparts data check DATASET --fix COPY` leaves it out"
            )
        return table if order is None else table.take(pa.array(order))

    def columns_of(self, parts: Sequence[EpisodeRows]) -> list[str]:
        """The names of all columns of one episode's rows, in the order of its files.

        Raises:
            UserError: naming the file that is missing or torn.
        """
        names: dict[str, None] = {}
        for part in parts:
            with parquet_errors(part.file):
                names |= dict.fromkeys(self._open(part.file).content.schema_arrow.names)
        return list(names)

    def first(self, part: EpisodeRows, column: str) -> Any:
        """The value of a column in the first row, reading as little of its row group as needed.

        Args:
            part: the rows.
            column: the column's name.

        Raises:
            UserError: naming the file that is missing or torn.
        """
        with parquet_errors(part.file):
            opened = open_parquet(part.file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            sizes = [
                opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)
            ]
            group = int(np.searchsorted(np.cumsum(sizes), part.start, "right"))
            before = part.start - sum(sizes[:group])
            batches = opened.iter_batches(
                1, row_groups=[group], columns=[column], use_threads=False
            )
            return next(itertools.islice(batches, before, None)).column(0)[0].as_py()

    def _read_part(self, part: EpisodeRows, columns: tuple[str, ...]) -> pa.Table:
        with parquet_errors(part.file):
            opened = self._open(part.file)
            missing = set(columns) - opened.columns
            if missing:
                raise UserError(f"{part.file} has no column {', '.join(sorted(missing))}")
            if FRAME in opened.columns and FRAME not in columns:
                columns = (*columns, FRAME)
            first = np.searchsorted(opened.offsets, part.start, "right") - 1
            groups = range(first, np.searchsorted(opened.offsets, part.stop))
            table = _read_groups(opened, groups, columns)
            rows = table.slice(part.start - opened.offsets[first], part.stop - part.start)
            return rows if part.chosen is None else rows.take(pa.array(part.chosen))

    def _open(self, file: Path) -> _OpenFile:
        if getattr(self._opened, "file", None) is None or self._opened.file.file != file:
            content = open_parquet(file)
            sizes = [
                content.metadata.row_group(group).num_rows
                for group in range(content.num_row_groups)
            ]
            offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            self._opened.file = _OpenFile(
                file, content, frozenset(content.schema_arrow.names), offsets
            )
        return self._opened.file

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._opened = threading.local()


def _read_groups(opened: _OpenFile, groups: range, columns: tuple[str, ...]) -> pa.Table:
    """Read row groups. They are kept for the next episode, since other programs than manyparts put
    many episodes into one group."""
    if columns in opened.kept and opened.kept[columns][0] == groups:
        return opened.kept[columns][1]
    table = opened.content.read_row_groups(list(groups), columns=list(columns), use_threads=False)
    opened.kept.pop(columns, None)
    if table.nbytes < _MAX_KEPT_BYTES:
        opened.kept[columns] = groups, table
    return table
