"""Encoded images, looked at without decoding them: which size, how many channels, how many bits."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from manyparts.data.formats.arrays import Entry

UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_MODES = {"1": (1, "u1"), "L": (1, "u1"), "P": (3, "u1"), "RGB": (3, "u1"), "YCbCr": (3, "u1"), "LA": (2, "u1")}
_MODES |= {"RGBA": (4, "u1"), "CMYK": (4, "u1"), "I": (1, "i4"), "F": (1, "f4")}


def encoding_of(content: bytes | memoryview | np.ndarray) -> str | None:
    """ "PNG" or "JPEG" if bytes, or uint8 (n,), begin as such a file does."""
    begin = bytes(content[:8])
    return "PNG" if begin == _PNG else "JPEG" if begin.startswith(_JPEG) else None


def look_at(content: bytes | memoryview) -> Entry:
    """Shape (h, w, channels) and dtype of an image's pixels as the file holds them.

    A palette counts as colour. Raises one of UNREADABLE if it is no image.
    """
    if encoding_of(content) == "PNG" and len(content) >= 26:  # Pillow does not tell 16-bit colour from 8-bit
        width, height, bits, colour = struct.unpack(">IIBB", bytes(content[16:26]))
        if colour not in _PNG_CHANNELS:
            raise ValueError(f"PNG has no colour type {colour}")
        return Entry((height, width, _PNG_CHANNELS[colour]), np.dtype(np.uint16 if bits == 16 else np.uint8))
    with Image.open(io.BytesIO(content)) as image:
        channels, dtype = _MODES.get(image.mode, (1, "u2"))  # "I;16", "I;16B" and so on
        return Entry((image.height, image.width, channels), np.dtype(dtype))


def is_colour(entry: Entry) -> bool:
    """Whether pixels (h, w, channels) are 8-bit colour or grey."""
    return entry.dtype == np.uint8 and entry.shape[2] in (1, 3)
