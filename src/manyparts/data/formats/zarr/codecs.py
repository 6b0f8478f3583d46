"""Decode the chunks of zarr arrays: into a size that is known beforehand, by codecs that cannot run
code."""

from __future__ import annotations

import bz2
import lzma
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.extras import install_command, load_package
from manyparts.data.formats.zarr.blosc import decode_blosc, decompress
from manyparts.data.formats.zarr.metadata import Layout

# The functions of imagecodecs that decode an image.
_IMAGES = {
    f"imagecodecs_{name}": f"{name}_decode" for name in ("jpegxl", "jpeg2k", "jpeg", "png", "webp")
}
_READ = ("blosc", "zstd", "lz4", "zlib", "gzip", "bz2", "lzma", "crc32c", *_IMAGES)
_CHECKSUM_BYTES = 4


def why_not_decoded(layout: Layout) -> str:
    """Why an array's chunks cannot be decoded; "" if they can."""
    for number, codec in enumerate(layout.codecs):
        name = codec["id"]
        if name not in _READ:
            return f"stored with the codec {name!r}, which is not read"
        if name in _IMAGES and (number or len(layout.codecs) > 1 or layout.dtype != np.uint8):
            return f"stored with the codec {name!r} next to others"
    return ""


def decode_chunk(content: bytes, layout: Layout) -> np.ndarray:
    """Decode a chunk.

    Args:
        content: the stored bytes.
        layout: how the array is stored; `why_not_decoded` is "" for it.

    Returns:
        The chunk, in the shape and dtype of the layout.

    Raises:
        ValueError: it is torn, or of another size.
        PackageError: imagecodecs is needed and not installed.
    """
    size = math.prod(layout.chunks) * layout.dtype.itemsize
    for number, codec in enumerate(layout.codecs):
        if codec["id"] in _IMAGES:
            return _decode_image(content, codec, layout)
        checksums = sum(later["id"] == "crc32c" for later in layout.codecs[number + 1 :])
        content = _decode(content, codec, size + _CHECKSUM_BYTES * checksums)
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes where {size} are expected")
    values = np.frombuffer(content, layout.dtype)
    return values.reshape(layout.chunks, order="F" if layout.column_major else "C")


def _decode(content: bytes, codec: Mapping[str, Any], size: int) -> bytes:
    name = codec["id"]
    if name == "blosc":
        return decode_blosc(content, size)
    if name == "crc32c":
        return content[:-_CHECKSUM_BYTES]
    if name == "lz4":  # numcodecs puts the length before the data
        if content[:4] != struct.pack("<I", size):
            raise ValueError(f"LZ4 data of another length than {size} bytes")
        return decompress(content[4:], "lz4_raw", size)
    if name == "zstd":
        return decompress(content, "zstd", size)
    if name in ("zlib", "gzip"):
        return decompress(content, "zlib", size)
    try:
        opened = bz2.BZ2Decompressor() if name == "bz2" else lzma.LZMADecompressor()
        return opened.decompress(content, size + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ValueError(f"{name} data that are torn: {error}") from error


def _decode_image(content: bytes, codec: Mapping[str, Any], layout: Layout) -> np.ndarray:
    """Decode a chunk that is one image, into memory of its size."""
    package = load_package("imagecodecs", f"the codec {codec['id']}", install_command("umi"))
    shape = tuple(side for side in layout.chunks if side != 1) or (1,)
    out = np.zeros(shape, np.uint8)
    try:
        decoded = getattr(package, _IMAGES[codec["id"]])(content, out=out)
    except Exception as error:  # each codec of the package has errors of its own
        raise ValueError(f"an image that cannot be decoded: {error}") from error
    if decoded.shape != shape or decoded.dtype != np.uint8:
        raise ValueError(f"an image {decoded.dtype} {decoded.shape}; expected uint8 {shape}")
    return decoded.reshape(layout.chunks)
