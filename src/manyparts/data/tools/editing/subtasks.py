"""The subtasks of datasets that are merged: one table of texts, and new numbers for rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import parquet_errors
from manyparts.data.formats.files import arrow_path, open_parquet
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.values import whole_column
from manyparts.data.tools.editing.source import Source

SUBTASK = "subtask_index"
SUBTASKS = "meta/subtasks.parquet"


class Subtasks:
    """The subtasks of several datasets.

    The number of a subtask is its row in the table, as LeRobot reads it. Where all tables are
    equal, they and the numbers stay as they are.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        """Read the tables.

        Raises:
            UserError: a table is torn, or some datasets have one and others do not.
        """
        self._tables = {source: _read(source) for source in sources}
        without = [source.name for source, table in self._tables.items() if table is None]
        if without and len(without) < len(sources):
            raise UserError(
                f"{without[0]} has no {SUBTASKS}, which others have; it cannot be merged"
            )
        texts = [
            _texts(source, table) for source, table in self._tables.items() if table is not None
        ]
        self._texts = list(dict.fromkeys(text for each in texts for text in each))
        self._equal = all(each == texts[0] for each in texts)

    def changes(self, source: Source) -> bool:
        """Whether subtasks of a dataset get new numbers."""
        return not self._equal and self._tables[source] is not None

    def indices(self, source: Source, rows: pa.Table) -> np.ndarray:
        """int64 (T,), the new subtask_index of some rows; -1, which is none, stays."""
        former = whole_column(rows, SUBTASK, f"{source.path}: {SUBTASK}")
        table = self._tables[source]
        assert table is not None
        texts, new = _texts(source, table), former.copy()
        for number in np.unique(former).tolist():
            if 0 <= number < len(texts):
                new[former == number] = self._texts.index(texts[number])
            elif number >= 0:
                raise UserError(f"{source.path}: {SUBTASK} is {number}, which {SUBTASKS} lacks")
        return new

    def write(self, folder: Path) -> None:
        """Write the table into the folder of a dataset, if there is one."""
        tables = [table for table in self._tables.values() if table is not None]
        if tables:
            table = tables[0] if self._equal else layout.texts_table(self._texts, "subtask")
            pq.write_table(table, arrow_path(folder / SUBTASKS))


def _read(source: Source) -> pa.Table | None:
    file = source.path / SUBTASKS
    if not file.is_file():
        return None
    with parquet_errors(file):
        return open_parquet(file).read(use_threads=False)


def _texts(source: Source, table: pa.Table) -> list[str]:
    """The subtasks in the order of their rows."""
    for name in ("subtask", *table.column_names):
        if name in table.column_names and pa.types.is_string(table[name].type):
            return [str(text) for text in table[name].to_pylist()]
    raise UserError(f"{source.path / SUBTASKS} has no column of texts")
