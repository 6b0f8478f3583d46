"""HDF5 files that are not trusted: opened read-only, inside themselves, with sizes looked at before reading."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.data.formats.arrays import Entry
from manyparts.data.formats.errors import one_line
from manyparts.data.formats.hdf5_probe import probe
from manyparts.extras import install_command
from manyparts.surroundings.locks import can_be_locked
from manyparts.types import UserError

_ARRAY_BYTES = 4 * 2**30
_SHRUNK = 2000  # no array is so many times larger than the file that holds it
_NODES = 1_000_000


class Hdf5File:
    """An opened file. It can be sent to another process, which opens it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._limit = min(_ARRAY_BYTES, _SHRUNK * path.stat().st_size)
        self._file: Any = None

    def group(self, name: str) -> Any:
        """A group by its path; all links on the way are inside the file."""
        with self.reading():
            node = self._root()
            for part in filter(None, name.split("/")):
                node = self._child(node, part)
            return node

    def array(self, name: str) -> Any:
        """An array by its path. Raises UserError for what is none."""
        import h5py

        node = self.group(name)
        if not isinstance(node, h5py.Dataset):
            raise UserError(f"{self.path}: {name} is not an array")
        return node

    def names(self, group: Any) -> list[str]:
        with self.reading():
            if len(group) > _NODES:
                raise UserError(f"{self.path}: {group.name} has {len(group)} members; at most {_NODES} are read")
            return list(group)

    def leaves(self, group: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
        """All arrays below a group, by their paths from there."""
        if depth > 8:
            raise UserError(f"{self.path}: {group.name} lies too deep")
        for name in self.names(group):
            with self.reading():
                node = self._child(group, name)
            if hasattr(node, "keys"):
                yield from self.leaves(node, f"{prefix}{name}/", depth + 1)
            elif hasattr(node, "shape"):
                yield prefix + name, node

    def attributes(self, node: Any) -> Mapping[str, Any]:
        """Those attributes that are numbers, text or arrays of numbers."""
        found: dict[str, Any] = {}
        with self.reading():
            for name in node.attrs:
                if (size := node.attrs.get_id(name).get_storage_size()) > 2**24:
                    raise UserError(f"{self.path}: attribute {name} of {node.name} has {size} bytes")
                value = node.attrs[name]
                value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                if (
                    isinstance(value, str | np.ndarray | np.generic)
                    and not getattr(value, "dtype", np.dtype("f4")).hasobject
                ):
                    found[name] = value
        return found

    def read(self, array: Any, rows: slice | np.ndarray | None = None) -> np.ndarray:
        """An array, or some of its rows."""
        with self.reading():
            self._check(array)
            return np.asarray(array[()] if rows is None else array[rows])

    def blobs(self, array: Any, rows: np.ndarray | None = None) -> list[bytes]:
        """An array of byte strings of various lengths: rows of uint8, or one variable length array a row."""
        import h5py

        with self.reading():
            kind = h5py.check_vlen_dtype(array.dtype)
            if (kind is not None and np.dtype(kind) != np.uint8) or (kind is None and array.dtype != np.uint8):
                raise UserError(f"{self.path}: {array.name} is {array.dtype}, not bytes")
            self._check(array, lengths_vary=True)
            values = array[()] if rows is None else array[np.asarray(rows)]
            return [np.asarray(value, np.uint8).tobytes() for value in values]

    def entry(self, array: Any) -> Entry:
        """What an array (T, ...) is like."""
        with self.reading():
            if not array.shape:
                raise UserError(f"{self.path}: {array.name} is a single value")
            return Entry(tuple(array.shape[1:]), array.dtype)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what h5py raises into a UserError that names the file."""
        try:
            yield
        except UserError:
            raise
        except (
            OSError,
            RuntimeError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            MemoryError,
            OverflowError,
        ) as error:
            raise UserError(f"{self.path} cannot be read as HDF5: {one_line(error)}") from error

    def _check(self, array: Any, *, lengths_vary: bool = False) -> None:
        if array.dtype.hasobject and not lengths_vary:
            raise UserError(f"{self.path}: {array.name} holds objects, which are not read")
        if array.is_virtual or array.external:
            raise UserError(f"{self.path}: {array.name} lies in other files, which are not read")
        if array.nbytes > self._limit:
            raise UserError(
                f"{self.path}: {array.name} has {array.nbytes} bytes; at most {self._limit} are read at once"
            )

    def _child(self, group: Any, name: str) -> Any:
        import h5py

        link = group.get(name, getlink=True)
        if link is None:
            raise UserError(f"{self.path} has no {group.name.rstrip('/')}/{name}")
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{self.path}: {group.name}/{name} is a link, which is not followed")
        return group[name]

    def _root(self) -> Any:
        if self._file is None:
            import h5py

            self._file = h5py.File(self.path, "r", locking=can_be_locked(self.path))
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}


def require_h5py(path: Path) -> None:
    """Raises UserError without h5py."""
    if importlib.util.find_spec("h5py") is None:
        raise UserError(f"{path} is HDF5, which needs h5py: {install_command('formats')}")


def open_hdf5(path: Path) -> Hdf5File:
    """Raises UserError without h5py, or if the file is not HDF5, or torn so that libhdf5 would hang or crash."""
    require_h5py(path)
    import h5py

    if not path.is_file():
        raise UserError(f"{path} is missing")
    if not h5py.is_hdf5(path):
        raise UserError(f"{path} is not an HDF5 file, or is torn")
    probe(path)
    return Hdf5File(path)
