"""Parts of an array in an `.npz` file, without decompressing what stands before them again.

A deflated array can only be read from its beginning. The decompressor's state is therefore kept
every few megabytes, and reading goes on from the nearest state before the part that is wanted.
"""

from __future__ import annotations

import math
import threading
import tokenize
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import one_line

_TORN = (
    OSError,
    KeyError,
    ValueError,
    EOFError,
    RuntimeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
# A state of the decompressor has 50 kB: there are so many, but none within a megabyte of another.
_MAX_STATES, _MIN_BETWEEN_BYTES = 1024, 2**20
_PIECE_BYTES = 2**20  # decompressed at once
_BLOCK_BYTES = 2**16  # read from the file at once


@contextmanager
def npz_errors(file: Path) -> Iterator[None]:
    """Turn the errors of numpy, zipfile and zlib into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except _TORN as error:
        raise UserError(f"{file} cannot be read as .npz: {one_line(error)}") from error


@dataclass(frozen=True)
class NpyHeader:
    """What an array in an `.npz` file says of itself."""

    shape: tuple[int, ...]
    """The whole shape."""
    dtype: np.dtype
    """The array's dtype."""
    column_major: bool
    """Whether columns and not rows stand one after another (Fortran's order)."""
    length: int
    """Bytes of the header itself, after which the values begin."""

    @property
    def size(self) -> int:
        """Bytes of the values; 0 for Python objects, which are never read."""
        return 0 if self.dtype.hasobject else math.prod(self.shape) * self.dtype.itemsize


def read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NpyHeader:
    """Read the header of an array. Raises what `npz_errors` turns into a UserError."""
    with archive.open(member) as content:
        if np.lib.format.read_magic(content) == (1, 0):
            shape, column_major, dtype = np.lib.format.read_array_header_1_0(content)
        else:
            shape, column_major, dtype = np.lib.format.read_array_header_2_0(content)
        if min(shape, default=0) < 0:
            raise ValueError(f"{member.filename} has shape {shape}")
        return NpyHeader(tuple(shape), dtype, column_major, content.tell())


class NpzMember:
    """The bytes of one array of an `.npz` file. It can be used by several threads, and pickled."""

    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        """Describe the member `member` of the archive `path`, which is opened for every read.

        Raises:
            UserError: it is compressed by another method than deflate, or encrypted.
        """
        name = member.filename
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{path}: {name} is compressed by another method than deflate")
        if member.flag_bits & 1:
            raise UserError(f"{path}: {name} is encrypted")
        self._path, self._member = path, member
        self._between = max(_MIN_BETWEEN_BYTES, member.file_size // _MAX_STATES)
        self._forget()

    def read(self, start: int, stop: int) -> bytearray:
        """Bytes `start` to `stop` of the decompressed member.

        Raises:
            UserError: it is torn, or ends before `stop`.
        """
        with npz_errors(self._path), self._lock, self._path.open("rb") as file:
            content = bytearray()
            for begin, piece in self._pieces(file, start, stop):
                content += piece[max(0, start - begin) :]
            if len(content) != stop - start:
                raise EOFError(f"{self._member.filename} ends early")
        return content

    def verify(self) -> None:
        """Read all of the member once, and compare its checksum. Raises UserError if it differs."""
        with npz_errors(self._path), self._lock, self._path.open("rb") as file:
            for _ in self._pieces(file, 0, self._member.file_size):
                pass
            if self._checked != self._member.file_size:
                raise EOFError(f"{self._member.filename} ends early")

    def _pieces(self, file: IO[bytes], start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Where a piece begins and its bytes, in order, from somewhere before `start` up to `stop`.
        Pieces before `start` are among them, which the decompressor had to pass."""
        if self._data is None:
            self._data = _data_offset(file, self._member)
        if self._member.compress_type == zipfile.ZIP_STORED:
            pieces = self._stored(file, start, stop)
        else:
            pieces = self._inflated(file, start, stop)
        for begin, piece in pieces:
            self._check(begin, piece)
            yield begin, piece

    def _stored(self, file: IO[bytes], start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        assert self._data is not None
        file.seek(self._data + start)
        for begin in range(start, min(stop, self._member.file_size), _PIECE_BYTES):
            yield begin, file.read(min(_PIECE_BYTES, stop - begin))

    def _inflated(self, file: IO[bytes], start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        assert self._data is not None
        state = self._nearest(start)
        done, consumed, inflate = state.done, state.consumed, state.inflate.copy()
        file.seek(self._data + consumed)
        block = b""
        while done < stop:
            if not block:
                block = file.read(min(_BLOCK_BYTES, self._member.compress_size - consumed))
            piece = inflate.decompress(block, min(_PIECE_BYTES, stop - done))
            if not block and not piece:  # torn
                return
            consumed += len(block) - len(inflate.unconsumed_tail)
            block = inflate.unconsumed_tail
            if piece:
                yield done, piece
            done += len(piece)
            if done - self._states[-1].done >= self._between:
                self._states.append(_State(done, consumed, inflate.copy()))
        self._last = _State(done, consumed, inflate)

    def _nearest(self, start: int) -> _State:
        """The last kept state that is not beyond `start`."""
        index = bisect_right(self._states, start, key=lambda state: state.done) - 1
        nearest, last = self._states[index], self._last
        return last if nearest.done <= last.done <= start else nearest

    def _check(self, begin: int, piece: bytes) -> None:
        """Continue the checksum where a piece goes beyond what was read before."""
        end, size = begin + len(piece), self._member.file_size
        if begin <= self._checked < end:
            self._crc = zlib.crc32(piece[self._checked - begin :], self._crc)
            self._checked = end
        if self._checked >= size and (end > size or self._crc != self._member.CRC):
            raise zipfile.BadZipFile(f"the checksum of {self._member.filename} is another one")

    def _forget(self) -> None:
        """Begin without anything that was read."""
        first = _State(0, 0, zlib.decompressobj(-zlib.MAX_WBITS))
        self._lock = threading.Lock()
        self._data: int | None = None  # where the member's bytes begin in the file
        self._states, self._last = [first], first
        self._checked, self._crc = 0, 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_path", "_member", "_between")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


@dataclass(frozen=True)
class _State:
    """Where a decompressor stands."""

    done: int
    """Bytes that it has given."""
    consumed: int
    """Bytes that it was given."""
    inflate: Any
    """The decompressor, of which copies go on."""


def _data_offset(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: after a header of 30 bytes, its name and extra fields."""
    file.seek(member.header_offset)
    header = file.read(30)
    if len(header) != 30 or header[:4] != b"PK\3\4":
        raise zipfile.BadZipFile(f"{member.filename} has no header")
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return member.header_offset + 30 + name + extra
