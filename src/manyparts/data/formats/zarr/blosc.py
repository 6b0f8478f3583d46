"""Decode Blosc 1 frames, in which zarr stores most chunks: LZ4, Zstandard, Snappy or zlib, of bytes
or bits in another order."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pyarrow as pa

# https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
_HEADER = struct.Struct("<BBBBIII")
_BYTE_SHUFFLED, _STORED, _BIT_SHUFFLED, _NOT_SPLIT = 0x1, 0x2, 0x4, 0x10
_CODECS = {0: "BloscLZ", 1: "lz4_raw", 2: "snappy", 3: "zlib", 4: "zstd"}
_MAX_SPLITS, _MIN_SPLIT_ITEMS, _MIN_BLOCK = 16, 128, 128
_BITS_AT_ONCE = 2**16  # bytes of each bit plane, since bits take eight times their memory


def decode_blosc(frame: bytes, size: int) -> bytes:
    """Decode a frame.

    Args:
        frame: the frame.
        size: the number of bytes that it has to hold.

    Raises:
        ValueError: it is torn, holds another number of bytes, or is compressed with BloscLZ.
    """
    if len(frame) < _HEADER.size:
        raise ValueError("a Blosc frame without a header")
    _, _, flags, item, held, block, _ = _HEADER.unpack_from(frame)
    if held != size:
        raise ValueError(f"a Blosc frame of {held} bytes; expected {size}")
    if flags & _STORED:
        return _exactly(frame[_HEADER.size :][:size], size)
    if size == 0:
        return b""
    if block < min(size, _MIN_BLOCK):
        raise ValueError(f"a Blosc frame in blocks of {block} bytes")
    starts = range(0, size, block)
    table = frame[_HEADER.size :][: 4 * len(starts)]
    offsets = struct.unpack(f"<{len(starts)}i", _exactly(table, 4 * len(starts)))
    decoded = []
    for start, offset in zip(starts, offsets, strict=True):
        length = min(block, size - start)
        split = (
            not flags & _NOT_SPLIT
            and length == block
            and 0 < item <= _MAX_SPLITS
            and block // item >= _MIN_SPLIT_ITEMS
        )
        content = _decode_block(frame, offset, length, _codec(flags), item if split else 1)
        decoded.append(_unshuffled(content, flags, item))
    return b"".join(decoded)


def decompress(content: bytes, codec: str, size: int) -> bytes:
    """Decompress bytes without a length of their own.

    Args:
        content: the compressed bytes.
        codec: "lz4_raw", "snappy", "zlib" (or gzip), or "zstd".
        size: the number of bytes that they have to hold.

    Raises:
        ValueError: they are torn, or hold another number of bytes.
    """
    try:
        if codec == "zlib":
            unpacked = zlib.decompressobj(wbits=47).decompress(content, size + 1)  # or gzip
            return _exactly(unpacked, size)
        arrow = pa.Codec(codec)
        if codec == "snappy" and _snappy_length(content) != size:
            raise ValueError(f"Snappy data of another length than {size} bytes")
        whole = arrow.decompress(content, decompressed_size=size, asbytes=True)
    except (OSError, pa.ArrowException, zlib.error, OverflowError) as error:
        raise ValueError(f"{codec} data that are torn: {error}") from error
    # Arrow does not say when LZ4 data end early; then they also fit into less.
    if codec == "lz4_raw" and size and _fits(arrow, content, size - 1):
        raise ValueError(f"LZ4 data of less than {size} bytes")
    return _exactly(whole, size)


def _codec(flags: int) -> str:
    codec = _CODECS.get(flags >> 5)
    if codec is None or codec == "BloscLZ":
        raise ValueError(
            f"a Blosc frame compressed with {codec or 'an unknown codec'}, which is not read; "
            "write it with lz4 or zstd"
        )
    return codec


def _decode_block(frame: bytes, offset: int, length: int, codec: str, parts: int) -> bytes:
    """Decode a block of `length` bytes that begins at `offset`: its parts one after another."""
    if length % parts:
        raise ValueError(f"a Blosc block of {length} bytes in {parts} parts")
    size, decoded = length // parts, []
    for _ in range(parts):
        if offset < _HEADER.size or offset + 4 > len(frame):
            raise ValueError("a Blosc block outside of its frame")
        (stored,) = struct.unpack_from("<i", frame, offset)
        offset += 4
        if stored < 0 or offset + stored > len(frame):
            raise ValueError("a Blosc block outside of its frame")
        part = frame[offset : offset + stored]
        offset += stored
        decoded.append(part if stored == size else decompress(part, codec, size))
    return b"".join(decoded)


def _unshuffled(content: bytes, flags: int, item: int) -> bytes:
    """Put the bytes, or the bits, of a block's items next to each other again."""
    values = np.frombuffer(content, np.uint8)
    count = len(content) // max(1, item)
    if flags & _BYTE_SHUFFLED and item > 1:
        whole = values[: count * item].reshape(item, count).T.tobytes()
        return whole + content[count * item :]
    if flags & _BIT_SHUFFLED and count and count % 8 == 0:  # others were stored as they are
        planes = values[: count * item].reshape(8 * item, count // 8)
        whole = b"".join(
            _transposed_bits(planes[:, start : start + _BITS_AT_ONCE])
            for start in range(0, planes.shape[1], _BITS_AT_ONCE)
        )
        return whole + content[count * item :]
    return content


def _transposed_bits(planes: np.ndarray) -> bytes:
    """The items (8 n, b) of bit planes (b, n)."""
    bits = np.unpackbits(planes, axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes()


def _exactly(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes where {size} are expected")
    return content


def _fits(codec: pa.Codec, content: bytes, size: int) -> bool:
    try:
        codec.decompress(content, decompressed_size=size, asbytes=True)
    except (OSError, pa.ArrowException):
        return False
    return True


def _snappy_length(content: bytes) -> int:
    """The length that Snappy data begin with, as a number of 7 bits a byte."""
    length = 0
    for number, octet in enumerate(content[:5]):
        length |= (octet & 0x7F) << (7 * number)
        if octet < 0x80:
            return length
    raise ValueError("Snappy data without a length")
