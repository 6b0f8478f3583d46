"""Rows of equal size in a binary file, which are read without memory-mapping it.

Pages of a mapped file count as memory of the process for as long as they are mapped.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from manyparts.core.errors import UserError


class RowFile:
    """`count` rows of one shape and dtype, from byte `offset` of a file on.

    Threads and processes may share one.

    Attributes:
        path: the file.
        shape: of a row.
        dtype: of its numbers.
        count: how many rows there are.
        offset: of the first row, in bytes.
        row_bytes: the size of a row.
    """

    _file: int | None = None

    def __init__(
        self, path: str | Path, shape: Sequence[int], dtype: DTypeLike, count: int, offset: int = 0
    ) -> None:
        self.path, self.shape, self.dtype = Path(path), tuple(shape), np.dtype(dtype)
        self.count, self.offset = count, offset
        self.row_bytes = math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, array: np.ndarray) -> RowFile | None:
        """The file behind a whole memory-mapped array; None for any other array, and for a view of
        one."""
        if not isinstance(array, np.memmap) or array.filename is None:
            return None
        is_whole = isinstance(array.base, mmap.mmap) and array.flags.c_contiguous
        if not is_whole:
            return None
        return cls(array.filename, array.shape[1:], array.dtype, len(array), array.offset)

    def gather(
        self, rows: np.ndarray, out: np.ndarray, targets: np.ndarray, length: int = 1
    ) -> None:
        """Read runs of rows: the run from rows[i] on into out[targets[i]].

        Args:
            rows: int64 (n,), first row of each run.
            out: C-contiguous, (runs, length, *shape) or, for length 1, (runs, *shape).
            targets: int64 (n,), the index in `out` of each run.
            length: of each run, in rows.

        Raises:
            UserError: the file is too short.
        """
        size = self.row_bytes * length
        assert (
            out.flags.c_contiguous and out.dtype == self.dtype and out.nbytes == len(out) * size
        ), (out.shape, size)
        if not len(rows):
            return
        view = out.data.cast("B")
        file, preadv = self._open(), getattr(os, "preadv", _preadv)
        # Runs that follow each other both in the file and in `out` are read by one call.
        is_apart = (np.diff(rows) != length) | (np.diff(targets) != 1)
        first = np.flatnonzero(np.concatenate([[True], is_apart]))
        starts = (targets[first] * size).tolist()
        offsets = (rows[first] * self.row_bytes + self.offset).tolist()
        sizes = (np.diff(first, append=len(rows)) * size).tolist()
        for start, offset, size in zip(starts, offsets, sizes, strict=True):
            if preadv(file, (view[start : start + size],), offset) != size:
                raise self._too_short()

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read rows that follow each other.

        Args:
            start: the first row.
            stop: the row after the last one.

        Returns:
            A new array (stop - start, *shape).
        """
        out = np.empty((stop - start, *self.shape), self.dtype)
        self.read_into(out, start)
        return out

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Read rows that follow each other into an array.

        Args:
            out: C-contiguous (rows, *shape), of the file's dtype.
            start: the first row.

        Raises:
            UserError: the file is too short.
        """
        assert 0 <= start <= start + len(out) <= self.count, (start, len(out), self.count)
        assert out.flags.c_contiguous and out.dtype == self.dtype, (out.dtype, self.dtype)
        if not read_at(self._open(), out, self.offset + start * self.row_bytes):
            raise self._too_short()

    def write(self, start: int, values: np.ndarray) -> None:
        """Write rows into a file opened for writing by `create`.

        Args:
            start: the first row to write.
            values: (n, *shape), of the file's dtype.
        """
        assert values.dtype == self.dtype and values.shape[1:] == self.shape, (
            values.dtype,
            values.shape,
        )
        assert self._file is not None
        content = np.ascontiguousarray(values).data.cast("B")
        offset = self.offset + start * self.row_bytes
        while content:
            written = os.pwrite(self._file, content, offset)
            content, offset = content[written:], offset + written

    def create(self) -> None:
        """Make the file at its full size, so that a full disk shows at once, and open it for
        writing."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        if size := self.offset + self.count * self.row_bytes:
            _reserve(self._file, size)

    def close(self) -> None:
        """Close the file; the next `gather` or `read` opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def is_whole(self) -> bool:
        """Whether the file is there at its full size."""
        size = self.offset + self.count * self.row_bytes
        return self.path.is_file() and self.path.stat().st_size == size

    def _too_short(self) -> UserError:
        return UserError(
            f"{self.path} is shorter than {self.count} rows; delete its folder, and it is built "
            "again"
        )

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY)
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def __del__(self) -> None:
        self.close()


def read_at(file: int, out: np.ndarray, offset: int) -> bool:
    """Fill an array from an open file.

    Args:
        file: Its descriptor.
        out: C-contiguous.
        offset: Of the first byte.

    Returns:
        Whether the file is long enough.
    """
    if not out.size:
        return True
    preadv = getattr(os, "preadv", _preadv)
    return preadv(file, (out.data.cast("B"),), offset) == out.nbytes


def _preadv(file: int, views: Sequence[memoryview], offset: int) -> int:
    """As `os.preadv` with one view, which some builds of Python for macOS lack."""
    (view,) = views
    content = os.pread(file, len(view), offset)
    view[: len(content)] = content
    return len(content)


def _reserve(file: int, size: int) -> None:
    """Give a file its size, and its blocks on the disk where the system can."""
    try:
        os.posix_fallocate(file, 0, size)
    except (AttributeError, OSError) as error:  # not on this system, or not on this disk
        if isinstance(error, OSError) and error.errno not in (
            errno.EINVAL,
            errno.EOPNOTSUPP,
            errno.ENOSYS,
        ):
            raise
        os.ftruncate(file, size)
