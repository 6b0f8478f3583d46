"""Arrays with one row per time step of many episodes, in HDF5 or `.npz`, of which some rows are
read."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.npz_members import NpyHeader, NpzMember, npz_errors, read_header

_READ_BYTES = 4 * 2**30  # at once
_BLOCK_ROWS, _BLOCK_BYTES = 16_384, 2**25


class RowArrays(Protocol):
    """The arrays of one file. They can be used by several threads, and pickled."""

    path: Path
    """The file."""
    infos: Mapping[str, ArrayInfo]
    """The whole shape, time axis included, and the dtype of each array, by its path."""

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read rows `start` to `stop` of an array. Raises UserError if they cannot be read."""
        ...

    def verify(self, name: str) -> None:
        """Raise UserError if an array does not fit its checksum, where the format has one."""
        ...


class Hdf5Rows:
    """The arrays of an HDF5 file."""

    def __init__(self, file: Hdf5File) -> None:
        self.path, self._file = file.path, file
        self._arrays = file.leaves(file.group(""))
        self.infos: Mapping[str, ArrayInfo] = {
            name: ArrayInfo(array.shape, array.dtype) for name, array in self._arrays.items()
        }

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """See `RowArrays.read`."""
        if name not in self._arrays:  # of an unpickled reader
            self._arrays[name] = self._file.array(name)
        return self._file.read(self._arrays[name], slice(start, stop))

    def verify(self, name: str) -> None:
        """Do nothing: libhdf5 compares the checksums that a file may have."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}


class NpzRows:
    """The arrays of an `.npz` file, which may be larger than memory."""

    def __init__(self, path: Path) -> None:
        """Read the headers of a file. Raises UserError if it is torn."""
        self.path = path
        self._headers: dict[str, NpyHeader] = {}
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._opened: dict[str, NpzMember] = {}
        with npz_errors(path), zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                self._headers[name], self._members[name] = read_header(archive, member), member
        self.infos: Mapping[str, ArrayInfo] = {
            name: ArrayInfo(header.shape, header.dtype) for name, header in self._headers.items()
        }

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """See `RowArrays.read`."""
        header = self._headers[name]
        where = f"{self.path}: {name}"
        if header.dtype.hasobject:
            raise UserError(f"{where} holds Python objects, which are not read")
        if header.column_major:
            raise UserError(
                f"{where} is stored column by column; save it as np.ascontiguousarray({name})"
            )
        start, stop, _ = slice(start, stop).indices(header.shape[0])
        size = math.prod(header.shape[1:]) * header.dtype.itemsize
        if (stop - start) * size > _READ_BYTES:
            raise UserError(
                f"{where} has {(stop - start) * size} bytes in rows {start} to {stop}; "
                f"at most {_READ_BYTES} are read at once"
            )
        content = self._member(name).read(header.length + start * size, header.length + stop * size)
        with npz_errors(self.path):
            return np.frombuffer(content, header.dtype).reshape(stop - start, *header.shape[1:])

    def verify(self, name: str) -> None:
        """See `RowArrays.verify`."""
        self._member(name).verify()

    def _member(self, name: str) -> NpzMember:
        if name not in self._opened:
            self._opened[name] = NpzMember(self.path, self._members[name])
        return self._opened[name]


class BufferedRows:
    """Arrays of which whole blocks of rows are read where rows are short: episodes after each
    other then cost one pass."""

    def __init__(self, arrays: RowArrays) -> None:
        self.path, self.infos, self._arrays = arrays.path, arrays.infos, arrays
        self._blocks: dict[str, tuple[int, np.ndarray]] = {}  # the last one of each array

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """See `RowArrays.read`."""
        info = self.infos[name]
        row_bytes = math.prod(info.shape[1:]) * info.dtype.itemsize
        if row_bytes * _BLOCK_ROWS > _BLOCK_BYTES or stop <= start:
            return self._arrays.read(name, start, stop)
        parts = []
        for number in range(start // _BLOCK_ROWS, (stop - 1) // _BLOCK_ROWS + 1):
            first = number * _BLOCK_ROWS
            block = self._block(name, number)
            parts.append(block[max(0, start - first) : stop - first])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def verify(self, name: str) -> None:
        """See `RowArrays.verify`."""
        self._arrays.verify(name)

    def _block(self, name: str, number: int) -> np.ndarray:
        kept = self._blocks.get(name)
        if kept is None or kept[0] != number:
            first = number * _BLOCK_ROWS
            kept = number, self._arrays.read(name, first, first + _BLOCK_ROWS)
            self._blocks[name] = kept
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_blocks": {}}
