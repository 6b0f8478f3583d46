"""Where Minari keeps episodes: groups of one HDF5 file, or a folder of Arrow or Parquet files for
each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.dataset as arrow_dataset

from manyparts.core.errors import UserError
from manyparts.data.formats.arrow_numbers import to_numpy
from manyparts.data.formats.errors import one_line, read_json
from manyparts.data.formats.hdf5 import Array, Group, Hdf5File, holds_bytes

METADATA = "metadata.json"
_LABELS = ("seed", "task")


@runtime_checkable
class Storage(Protocol):
    """Episodes by Minari's own number. Names of arrays are paths such as "observations/hand"."""

    path: Path

    def episode_numbers(self) -> list[int]:
        """The numbers of the episodes that lie here, ascending."""
        ...

    def arrays(
        self, number: int, wanted: Sequence[str], also: Sequence[str], shown: Sequence[str]
    ) -> tuple[int, dict[str, np.ndarray]]:
        """The steps of an episode, and its arrays of numbers, which have as many rows or one more:
        all that are wanted, and those of `also` that are there. shown: arrays of pictures, which
        are looked for and not read.

        Raises UserError naming the episode and what is wrong.
        """
        ...

    def pictures(self, number: int, name: str, rows: np.ndarray) -> np.ndarray | list[bytes]:
        """Some rows of an array, as bytes where they are encoded: Minari's own flag does not say,
        since it leaves small pictures alone."""
        ...

    def texts(self, number: int, name: str) -> list[str]:
        """Those of an array of texts; none of another kind of array."""
        ...

    def infos(self, number: int) -> list[str]:
        """The names of what the environment said beside its observations."""
        ...

    def labels(self, number: int) -> Mapping[str, Any]:
        """An episode's seed and task, where it has them."""
        ...


class Hdf5Storage:
    """See `Storage`."""

    def __init__(self, file: Hdf5File) -> None:
        self._file, self.path = file, file.path

    def episode_numbers(self) -> list[int]:
        names = self._file.names(self._file.group(""))
        return sorted(
            int(name[8:]) for name in names if name.startswith("episode_") and name[8:].isdecimal()
        )

    def arrays(
        self, number: int, wanted: Sequence[str], also: Sequence[str], shown: Sequence[str]
    ) -> tuple[int, dict[str, np.ndarray]]:
        group = self._file.group(f"episode_{number}")
        rewards = self._file.array("rewards", group)
        length = rewards.shape[0] if rewards.shape else 0
        values = {name: self._file.read(self._array(group, name, length)) for name in wanted}
        for name in shown:
            self._array(group, name, length)
        for name in also:
            found = self._file.find(name, group)
            if isinstance(found, Array) and found.shape and found.dtype.kind in "biuf":
                values[name] = self._file.read(found)
        return length, values

    def pictures(self, number: int, name: str, rows: np.ndarray) -> np.ndarray | list[bytes]:
        array = self._file.array(f"episode_{number}/{name}")
        return self._file.blobs(array, rows) if holds_bytes(array) else self._file.read(array, rows)

    def texts(self, number: int, name: str) -> list[str]:
        array = self._file.find(f"episode_{number}/{name}")
        return self._file.texts(array) if isinstance(array, Array) else []

    def infos(self, number: int) -> list[str]:
        found = self._file.find(f"episode_{number}/infos")
        return self._file.names(found) if isinstance(found, Group) else []

    def labels(self, number: int) -> Mapping[str, Any]:
        group = self._file.group(f"episode_{number}")
        there = set(self._file.attributes(group))
        return {name: self._file.attribute(group, name) for name in _LABELS if name in there}

    def _array(self, group: Group, name: str, length: int) -> Array:
        array = self._file.array(name, group)
        rows = array.shape[0] if array.shape else 0
        if rows not in (length, length + 1):
            raise UserError(f"{self.path}: {group.name[1:]} has {rows} {name}, {length} rewards")
        return array


class ArrowStorage:
    """See `Storage`. Rewards and actions have one row too many, which is padding. kind: arrow or
    parquet."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.path, self._kind = folder, kind

    def episode_numbers(self) -> list[int]:
        return sorted(
            int(entry.name)
            for entry in self.path.iterdir()
            if entry.name.isdecimal() and entry.is_dir()
        )

    def arrays(
        self, number: int, wanted: Sequence[str], also: Sequence[str], shown: Sequence[str]
    ) -> tuple[int, dict[str, np.ndarray]]:
        table = self._table(
            number, sorted({name.partition("/")[0] for name in (*wanted, *also, *shown)})
        )
        with self._reading(number):
            told = self._about(number).get("total_steps")
            length = table.num_rows if told == table.num_rows else table.num_rows - 1
            values = {
                name: self._numbers(self._column(table, name, number), name, number)
                for name in wanted
            }
            for name in shown:
                self._column(table, name, number)
            for name in also:
                if (found := _inside(table, name)) is not None:
                    with suppress(ValueError):
                        values[name] = to_numpy(found)
        return length, values

    def pictures(self, number: int, name: str, rows: np.ndarray) -> np.ndarray | list[bytes]:
        table = self._table(number, [name.partition("/")[0]])
        with self._reading(number):
            found = self._column(table, name, number).take(pa.array(rows))
            encoded = pa.types.is_binary(found.type) or pa.types.is_large_binary(found.type)
            if encoded:
                return [bytes(each or b"") for each in found.to_pylist()]
            return self._numbers(found, name, number)

    def texts(self, number: int, name: str) -> list[str]:
        table = self._table(number, [name.partition("/")[0]])
        with self._reading(number):
            found = _inside(table, name)
            if found is None or not pa.types.is_string(found.type):
                return []
            return [text or "" for text in found.to_pylist()]

    def infos(self, number: int) -> list[str]:
        schema = self._open(number).schema
        kind = schema.field("infos").type if "infos" in schema.names else None
        return (
            [kind.field(n).name for n in range(kind.num_fields)]
            if kind and pa.types.is_struct(kind)
            else []
        )

    def labels(self, number: int) -> Mapping[str, Any]:
        about = self._about(number)
        return {name: about[name] for name in _LABELS if name in about}

    def _about(self, number: int) -> Mapping[str, Any]:
        return read_json(self.path / str(number) / METADATA)

    def _open(self, number: int) -> Any:
        with self._reading(number):
            where = self.path / str(number)
            return arrow_dataset.dataset(
                where, format=self._kind, ignore_prefixes=["_", ".", METADATA]
            )

    def _table(self, number: int, columns: Sequence[str]) -> pa.Table:
        episode = self._open(number)
        with self._reading(number):
            there = set(episode.schema.names)
            return episode.to_table(
                columns=[name for name in columns if name in there], use_threads=False
            )

    def _column(self, table: pa.Table, name: str, number: int) -> pa.Array:
        found = _inside(table, name)
        if found is None:
            raise UserError(f"{self.path / str(number)} has no {name}")
        return found

    def _numbers(self, column: pa.Array, name: str, number: int) -> np.ndarray:
        try:
            return to_numpy(column)
        except ValueError as error:
            raise UserError(f"{self.path / str(number)}: {name} {one_line(error)}") from error

    @contextmanager
    def _reading(self, number: int) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except (
            pa.ArrowException,
            OSError,
            LookupError,
            ValueError,
            TypeError,
            MemoryError,
        ) as error:
            raise UserError(
                f"{self.path / str(number)} cannot be read as {self._kind}: {one_line(error)}"
            ) from error


def _inside(table: pa.Table, name: str) -> pa.Array | None:
    """The column at a path into a table's structs; None if there is none. A tuple's parts are
    fields "0", "1"."""
    first, *inner = name.split("/")
    if first not in table.column_names:
        return None
    column = table[first].combine_chunks()
    while inner:
        if not pa.types.is_struct(column.type):
            return None
        for count in range(len(inner), 0, -1):  # a name of a field may hold slashes itself
            part = "/".join(inner[:count])
            index = max(
                column.type.get_field_index(each) for each in (part, part.removeprefix("_index_"))
            )
            if index >= 0:
                break
        else:
            return None
        column, inner = (
            column.flatten()[index],
            inner[count:],
        )  # null where the struct is; `field` forgets that
    return column
