"""Blosc frames that numcodecs wrote decode to the same bytes; hostile ones are refused."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from data.formats.fuzzing import mutate
from numcodecs import Blosc

from manyparts.data.formats.zarr.blosc import decode_blosc, decompress

COUNTS = (1, 7, 64, 129, 1000, 4096, 100_003)


def content(count: int, item: int, kind: str) -> np.ndarray:
    if kind == "noise":
        return np.random.default_rng(count).integers(0, 256, count * item, dtype=np.uint8)
    return (np.arange(count * item) // 7 % 251).astype(np.uint8)


@pytest.mark.parametrize("name", ["lz4", "lz4hc", "zstd", "zlib"])
@pytest.mark.parametrize("shuffle", [Blosc.NOSHUFFLE, Blosc.SHUFFLE, Blosc.BITSHUFFLE])
@pytest.mark.parametrize("item", [1, 2, 4, 8, 17])
def test_frames_of_numcodecs_decode(name: str, shuffle: int, item: int) -> None:
    for count in COUNTS:
        for block in (0, 1000):
            for kind in ("ramp", "noise"):
                values = content(count, item, kind)
                codec = Blosc(cname=name, clevel=5, shuffle=shuffle, blocksize=block)
                frame = bytes(codec.encode(values.view(f"S{item}")))
                assert decode_blosc(frame, values.nbytes) == values.tobytes()


def test_large_bit_planes_are_joined() -> None:
    values = content(8 * 2**17, 2, "ramp")
    codec = Blosc(cname="lz4", shuffle=Blosc.BITSHUFFLE, blocksize=values.nbytes)
    assert decode_blosc(bytes(codec.encode(values.view("<u2"))), values.nbytes) == values.tobytes()


def frame_of(name: str, values: np.ndarray) -> bytes:
    return bytes(Blosc(cname=name, shuffle=Blosc.SHUFFLE).encode(values))


@pytest.mark.parametrize("name", ["lz4", "zstd", "zlib"])
def test_torn_frames_are_refused(name: str) -> None:
    values = np.arange(5000, dtype=np.float32)
    frame = frame_of(name, values)
    for end in (0, 15, 16, 40, len(frame) - 1):
        with pytest.raises(ValueError, match=r"Blosc|bytes|torn"):
            decode_blosc(frame[:end], values.nbytes)
    with pytest.raises(ValueError, match="a Blosc frame of 20000 bytes; expected 2000"):
        decode_blosc(frame, 2000)
    for seed in range(200):
        changed = mutate(frame, random.Random(seed))
        try:
            assert len(decode_blosc(changed, values.nbytes)) == values.nbytes
        except ValueError as error:
            assert str(error)


def test_blosclz_is_named() -> None:
    frame = frame_of("blosclz", np.arange(5000, dtype=np.float32))
    with pytest.raises(ValueError, match="compressed with BloscLZ, which is not read; write it"):
        decode_blosc(frame, 20_000)


def test_frames_of_many_tiny_blocks_are_refused() -> None:
    header = struct.pack("<BBBBIII", 2, 1, 0x20, 4, 2**31, 1, 2**30)
    with pytest.raises(ValueError, match="in blocks of 1 bytes"):
        decode_blosc(header, 2**31)


def test_early_ends_are_noticed() -> None:
    """Arrow returns what follows in memory for LZ4 data that end early."""
    whole = Blosc(cname="lz4", shuffle=Blosc.NOSHUFFLE).encode(b"abcd" * 100)
    (start,) = struct.unpack_from("<i", whole, 16)
    (size,) = struct.unpack_from("<i", whole, start)
    part = bytes(whole[start + 4 : start + 4 + size])
    assert decompress(part, "lz4_raw", 400) == b"abcd" * 100
    for length in (399, 401, 500):
        with pytest.raises(ValueError, match=r"LZ4 data|torn"):
            decompress(part, "lz4_raw", length)
