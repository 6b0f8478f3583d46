"""Minari's storage of episodes: groups of one HDF5 file, or a folder of Arrow or Parquet files per
episode."""

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
from manyparts.data.formats.errors import ARROW_ERRORS, one_line, read_json
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Array, Group, holds_bytes

METADATA = "metadata.json"
_LABELS = ("seed", "task")


@runtime_checkable
class Storage(Protocol):
    """Episodes by Minari's own numbers. Names of arrays are paths such as "observations/hand"."""

    path: Path
    """The file or folder."""

    def episode_numbers(self) -> list[int]:
        """The numbers of the stored episodes, ascending."""
        ...

    def arrays(
        self, number: int, required: Sequence[str], optional: Sequence[str], images: Sequence[str]
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Read an episode's numbers.

        Args:
            number: the episode.
            required: arrays to read.
            optional: arrays to read if there are such.
            images: arrays of images, which are checked for and not read.

        Returns:
            The number of steps, and the arrays by name, with as many rows or one more.

        Raises:
            UserError: naming the episode and what is wrong.
        """
        ...

    def images(self, number: int, name: str, rows: np.ndarray) -> np.ndarray | list[bytes]:
        """Read some rows of an array of images.

        Minari's own flag does not say whether they are encoded: it never encodes small images.

        Args:
            number: the episode.
            name: the array.
            rows: indices of the rows, int (n,), ascending.

        Returns:
            Images (n, ...); or n byte strings if they are encoded.

        Raises:
            UserError: naming what cannot be read.
        """
        ...

    def texts(self, number: int, name: str) -> list[str]:
        """All texts of an array; none if it is no array of texts.

        Args:
            number: the episode.
            name: the array.
        """
        ...

    def infos(self, number: int) -> list[str]:
        """The names of the environment's infos."""
        ...

    def labels(self, number: int) -> Mapping[str, Any]:
        """An episode's seed and task, if it has them."""
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
        self, number: int, required: Sequence[str], optional: Sequence[str], images: Sequence[str]
    ) -> tuple[int, dict[str, np.ndarray]]:
        group = self._file.group(f"episode_{number}")
        rewards = self._file.array("rewards", group)
        length = rewards.shape[0] if rewards.shape else 0
        values = {name: self._file.read(self._array(group, name, length)) for name in required}
        for name in images:
            self._array(group, name, length)
        for name in optional:
            node = self._file.find(name, group)
            if isinstance(node, Array) and node.shape and node.dtype.kind in "biuf":
                values[name] = self._file.read(node)
        return length, values

    def images(self, number: int, name: str, rows: np.ndarray) -> np.ndarray | list[bytes]:
        array = self._file.array(f"episode_{number}/{name}")
        return self._file.blobs(array, rows) if holds_bytes(array) else self._file.read(array, rows)

    def texts(self, number: int, name: str) -> list[str]:
        array = self._file.find(f"episode_{number}/{name}")
        return self._file.texts(array) if isinstance(array, Array) else []

    def infos(self, number: int) -> list[str]:
        node = self._file.find(f"episode_{number}/infos")
        return self._file.names(node) if isinstance(node, Group) else []

    def labels(self, number: int) -> Mapping[str, Any]:
        group = self._file.group(f"episode_{number}")
        attributes = set(self._file.attributes(group))
        return {name: self._file.attribute(group, name) for name in _LABELS if name in attributes}

    def _array(self, group: Group, name: str, length: int) -> Array:
        """An array of an episode, with a row per step or one more."""
        array = self._file.array(name, group)
        rows = array.shape[0] if array.shape else 0
        if rows not in (length, length + 1):
            raise UserError(f"{self.path}: {group.name[1:]} has {rows} {name}, {length} rewards")
        return array


class ArrowStorage:
    """See `Storage`. Rewards and actions have one row too many, which is padding."""

    def __init__(self, folder: Path, kind: str) -> None:
        """kind: "arrow" or "parquet"."""
        self.path, self._kind = folder, kind

    def episode_numbers(self) -> list[int]:
        return sorted(
            int(entry.name)
            for entry in self.path.iterdir()
            if entry.name.isdecimal() and entry.is_dir()
        )

    def arrays(
        self, number: int, required: Sequence[str], optional: Sequence[str], images: Sequence[str]
    ) -> tuple[int, dict[str, np.ndarray]]:
        names = (*required, *optional, *images)
        table = self._table(number, sorted({name.partition("/")[0] for name in names}))
        with self._naming_errors(number):
            steps = self._metadata(number).get("total_steps")
            length = table.num_rows if steps == table.num_rows else table.num_rows - 1
            values = {
                name: self._numbers(self._column(table, name, number), name, number)
                for name in required
            }
            for name in images:
                self._column(table, name, number)
            for name in optional:
                if (column := _column_at(table, name)) is not None:
                    with suppress(ValueError):
                        values[name] = to_numpy(column)
        return length, values

    def images(self, number: int, name: str, rows: np.ndarray) -> np.ndarray | list[bytes]:
        table = self._table(number, [name.partition("/")[0]])
        with self._naming_errors(number):
            column = self._column(table, name, number).take(pa.array(rows))
            if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
                return [bytes(content or b"") for content in column.to_pylist()]
            return self._numbers(column, name, number)

    def texts(self, number: int, name: str) -> list[str]:
        table = self._table(number, [name.partition("/")[0]])
        with self._naming_errors(number):
            column = _column_at(table, name)
            if column is None or not pa.types.is_string(column.type):
                return []
            return [text or "" for text in column.to_pylist()]

    def infos(self, number: int) -> list[str]:
        schema = self._open(number).schema
        kind = schema.field("infos").type if "infos" in schema.names else None
        if not kind or not pa.types.is_struct(kind):
            return []
        return [kind.field(index).name for index in range(kind.num_fields)]

    def labels(self, number: int) -> Mapping[str, Any]:
        metadata = self._metadata(number)
        return {name: metadata[name] for name in _LABELS if name in metadata}

    def _metadata(self, number: int) -> Mapping[str, Any]:
        return read_json(self.path / str(number) / METADATA)

    def _open(self, number: int) -> Any:
        with self._naming_errors(number):
            folder = self.path / str(number)
            return arrow_dataset.dataset(
                folder, format=self._kind, ignore_prefixes=["_", ".", METADATA]
            )

    def _table(self, number: int, columns: Sequence[str]) -> pa.Table:
        episode = self._open(number)
        with self._naming_errors(number):
            present = [name for name in columns if name in set(episode.schema.names)]
            return episode.to_table(columns=present, use_threads=False)

    def _column(self, table: pa.Table, name: str, number: int) -> pa.Array:
        column = _column_at(table, name)
        if column is None:
            raise UserError(f"{self.path / str(number)} has no {name}")
        return column

    def _numbers(self, column: pa.Array, name: str, number: int) -> np.ndarray:
        try:
            return to_numpy(column)
        except ValueError as error:
            raise UserError(f"{self.path / str(number)}: {name} {one_line(error)}") from error

    @contextmanager
    def _naming_errors(self, number: int) -> Iterator[None]:
        """Turn pyarrow's errors into a UserError that names the episode's folder."""
        try:
            yield
        except UserError:
            raise
        except ARROW_ERRORS as error:
            raise UserError(
                f"{self.path / str(number)} cannot be read as {self._kind}: {one_line(error)}"
            ) from error


def _column_at(table: pa.Table, name: str) -> pa.Array | None:
    """The column at a path into a table's structs; None if there is none.

    A tuple's parts are fields "0", "1" there, and "_index_0", "_index_1" in the path.
    """
    first, *rest = name.split("/")
    if first not in table.column_names:
        return None
    column = table[first].combine_chunks()
    while rest:
        if not pa.types.is_struct(column.type):
            return None
        for count in range(len(rest), 0, -1):  # a field's name may itself contain slashes
            part = "/".join(rest[:count])
            names = (part, part.removeprefix("_index_"))
            index = max(column.type.get_field_index(name) for name in names)
            if index >= 0:
                break
        else:
            return None
        # `flatten` keeps null where the struct is null; `field` would lose it.
        column, rest = column.flatten()[index], rest[count:]
    return column
