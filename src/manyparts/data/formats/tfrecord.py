"""Read TFRecord files of `tf.train.Example` without TensorFlow: records by index, features by name.

A record is its length (uint64), a checksum of that (uint32), its bytes, and a checksum of them
(uint32). Checksums are not verified. An Example is a protocol buffer: features { feature { key,
value { bytes | float | int64 list } } }.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import UnsupportedFormatError

Value = np.ndarray | list[memoryview]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_GZIP = b"\x1f\x8b\x08"
_ZLIB, _ZLIB_BYTES = 0x78, 2**16  # zlib's first byte; how many bytes are decompressed for a test


class TFRecordFile:
    """A file of records that are read by index. It can be pickled to another process.

    Attributes:
        path: the file.
        torn: why the file cannot be read to its end; "" if it can. Records before that are read.
    """

    def __init__(self, path: Path) -> None:
        """Scan a file.

        Raises:
            UnsupportedFormatError: if it is compressed, or its records are no Examples.
        """
        self.path, self.torn = path, ""
        self._view: memoryview | None = None
        self._spans = list(self._scan())
        if self._spans and _is_sequence_example(self._record(0)):
            raise UnsupportedFormatError(
                f"{path} holds records of tf.train.SequenceExample, which are not read",
                "write the dataset as RLDS with TensorFlow Datasets: "
                "its records are tf.train.Example",
            )

    def __len__(self) -> int:
        """Number of records."""
        return len(self._spans)

    def example(self, index: int) -> dict[str, Value]:
        """The features of a record by name: float32 or int64 (n,), or n byte strings, which are
        views of the file."""
        try:
            return parse_example(self._record(index))
        except (ValueError, IndexError, struct.error) as error:
            raise UserError(
                f"{self.path}: record {index} is not a tf.train.Example: {error}"
            ) from error

    def _record(self, index: int) -> memoryview:
        begin, end = self._spans[index]
        return self._content()[begin:end]

    def _scan(self) -> Iterator[tuple[int, int]]:
        """Begin and end of each record's bytes."""
        content, offset = self._content(), 0
        if content[:3] == _GZIP:
            raise UnsupportedFormatError(
                f"{self.path} is compressed with gzip, which is not read",
                "decompress it with gunzip",
            )
        while offset < len(content):
            if offset + 12 > len(content):
                self.torn = f"{self.path} is torn at byte {offset}"
                return
            (length,) = struct.unpack_from("<Q", content, offset)
            if length > len(content) - offset - 16:
                if not offset and _is_zlib(content):
                    raise UnsupportedFormatError(
                        f"{self.path} is compressed with ZLIB, which is not read",
                        "decompress each such file with Python's zlib.decompress, "
                        "or write them without compression",
                    )
                self.torn = (
                    f"{self.path} is torn: the record at byte {offset} claims {length} bytes"
                )
                return
            yield offset + 12, offset + 12 + length
            offset += 16 + length

    def _content(self) -> memoryview:
        if self._view is None:
            with self.path.open("rb") as file:
                empty = self.path.stat().st_size == 0
                self._view = memoryview(
                    b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                )
        return self._view

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_view": None}


def _is_zlib(content: memoryview) -> bool:
    """Whether bytes that are no record are compressed with zlib: their beginning decompresses."""
    try:
        return content[0] == _ZLIB and bool(
            zlib.decompressobj().decompress(content[:_ZLIB_BYTES], 1)
        )
    except zlib.error:
        return False


def parse_example(message: memoryview) -> dict[str, Value]:
    """The features of a serialised Example. Raises ValueError or IndexError if it is none."""
    values: dict[str, Value] = {}
    for features in _children(message, 1):
        for entry in _children(features, 1):
            key = b"".join(_children(entry, 1)).decode("utf-8")
            for value in _children(entry, 2):
                values[key] = _value(value)
    return values


def _is_sequence_example(message: memoryview) -> bool:
    """Whether a record has lists of features in field 2, which an Example does not have."""
    try:
        for features in list(_children(message, 2)):
            if any(number == 1 and kind == _BYTES for number, kind, _ in _fields(features)):
                return True
    except (ValueError, IndexError):
        pass
    return False


def _value(feature: memoryview) -> Value:
    for number, kind, content in _fields(feature):
        if kind != _BYTES:
            raise ValueError("a feature is not a list")
        if number == 1:
            return list(_children(content, 1))
        if number == 2:
            return _floats(content)
        if number == 3:
            return _integers(content)
    return []


def _floats(message: memoryview) -> np.ndarray:
    parts = [
        np.frombuffer(content, "<f4")
        for number, kind, content in _fields(message)
        if number == 1 and kind != _VARINT
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _integers(message: memoryview) -> np.ndarray:
    parts = [
        _varints(content)
        for number, kind, content in _fields(message)
        if number == 1 and kind in (_BYTES, _VARINT)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _varints(content: memoryview) -> np.ndarray:
    """Decode all variable-length integers of packed bytes at once."""
    octets = np.frombuffer(content, np.uint8)
    if not len(octets):
        return np.zeros(0, np.int64)
    # An integer has seven bits per byte, lowest first; all bytes but the last have the high bit.
    last = octets < 0x80
    if not last[-1]:
        raise ValueError("an integer is cut off")
    ends = np.flatnonzero(last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    if (ends - begins).max() >= 10:
        raise ValueError("an integer has more than ten bytes")
    index_in_integer = np.arange(len(octets)) - np.repeat(begins, ends - begins + 1)
    shifted = (octets & 0x7F).astype(np.uint64) << (7 * index_in_integer).astype(np.uint64)
    return np.add.reduceat(shifted, begins).astype(np.int64)


def _children(message: memoryview, field: int) -> Iterator[memoryview]:
    """The messages or byte strings of the field with this number."""
    for number, kind, content in _fields(message):
        if number == field:
            if kind != _BYTES:
                raise ValueError(f"field {number} is not a message")
            yield content


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and content of each field; the content of an integer is its bytes."""
    offset, end = 0, len(message)
    while offset < end:
        tag, offset = _varint(message, offset)
        kind = tag & 7
        if kind == _BYTES:
            size, offset = _varint(message, offset)
            after = offset + size
        elif kind == _VARINT:
            _, after = _varint(message, offset)
        elif kind in (_FIXED64, _FIXED32):
            after = offset + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"unknown wire type {kind}")
        if after > end:
            raise ValueError("a field is cut off")
        yield tag >> 3, kind, message[offset:after]
        offset = after


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    """The integer at an offset, and the offset after it."""
    value = shift = 0
    while True:
        octet = message[offset]
        offset += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, offset
        shift += 7
        if shift > 63:
            raise ValueError("an integer has more than ten bytes")
