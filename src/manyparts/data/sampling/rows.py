"""Rows of equal size in a binary file, read by position: nothing is mapped, so nothing stays
resident."""

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
    """`count` rows of one shape and dtype, from byte `offset` of a file on. Safe across threads and
    processes."""

    _file: int | None = None

    def __init__(
        self, path: str | Path, shape: Sequence[int], dtype: DTypeLike, count: int, offset: int = 0
    ) -> None:
        self.path, self.shape, self.dtype, self.count, self.offset = (
            Path(path),
            tuple(shape),
            np.dtype(dtype),
            count,
            offset,
        )
        self.row_bytes = math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, array: np.ndarray) -> RowFile | None:
        """The file behind a whole memory-mapped array; None for any other array, and for a view of
        one."""
        if (
            not isinstance(array, np.memmap)
            or not isinstance(array.base, mmap.mmap)
            or array.filename is None
        ):
            return None
        if not array.flags.c_contiguous:
            return None
        return cls(array.filename, array.shape[1:], array.dtype, len(array), array.offset)

    def gather(self, rows: np.ndarray, out: np.ndarray, slots: np.ndarray, length: int = 1) -> None:
        """Read runs of `length` rows that start at `rows` into out[slots], each slot being such a
        run.

        out: C-contiguous, (slots, length, *shape) or, for length 1, (slots, *shape).
        """
        size = self.row_bytes * length
        assert (
            out.flags.c_contiguous and out.dtype == self.dtype and out.nbytes == len(out) * size
        ), (out.shape, size)
        if not len(rows):
            return
        view = out.data.cast("B")
        file, preadv = self._open(), getattr(os, "preadv", _preadv)
        # runs that follow each other in the file and in `out` are read at once
        first = np.flatnonzero(
            np.concatenate([[True], (np.diff(rows) != length) | (np.diff(slots) != 1)])
        )
        begins = (slots[first] * size).tolist()
        places = (rows[first] * self.row_bytes + self.offset).tolist()
        sizes = (np.diff(first, append=len(rows)) * size).tolist()
        for begin, place, size in zip(begins, places, sizes, strict=True):
            if preadv(file, (view[begin : begin + size],), place) != size:
                raise UserError(
                    f"{self.path} is shorter than {self.count} rows; delete its folder to build it anew"
                )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop (exclusive) as a fresh array."""
        assert 0 <= start <= stop <= self.count, (start, stop, self.count)
        out = np.empty((1, stop - start, *self.shape), self.dtype)
        if stop > start:
            self.gather(np.asarray([start]), out, np.asarray([0]), length=stop - start)
        return out[0]

    def write(self, start: int, values: np.ndarray) -> None:
        """Put rows in place, into a file opened for writing by `create`."""
        assert values.dtype == self.dtype and values.shape[1:] == self.shape, (
            values.dtype,
            values.shape,
        )
        assert self._file is not None
        content = np.ascontiguousarray(values).data.cast("B")
        place = self.offset + start * self.row_bytes
        while content:
            written = os.pwrite(self._file, content, place)
            content, place = content[written:], place + written

    def create(self) -> None:
        """Make the file at its full size, so that a full disk shows at once, and open it for
        writing."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        if size := self.offset + self.count * self.row_bytes:
            _reserve(self._file, size)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def is_whole(self) -> bool:
        """Whether the file is there at its full size."""
        return (
            self.path.is_file()
            and self.path.stat().st_size == self.offset + self.count * self.row_bytes
        )

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY)
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def __del__(self) -> None:
        self.close()


def _preadv(file: int, views: Sequence[memoryview], place: int) -> int:
    """As `os.preadv` with one view, which some builds of Python for macOS lack."""
    (view,) = views
    content = os.pread(file, len(view), place)
    view[: len(content)] = content
    return len(content)


def _reserve(file: int, size: int) -> None:
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
