"""PNG pictures to and from uint8 arrays."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image, ImageOps

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DIFFERENCE_TO_ROW_ABOVE = 2  # the PNG filter "Up"
_DEEP = ("RGB;16", "RGBA;16", "RGBX;16", "LA;16", "CMYK;16")  # of Pillow's raw modes


def encode_png(frame: np.ndarray) -> bytes:
    """uint8 (h, w, 3) to PNG; equal frames give equal bytes.

    One filter for all rows and zlib's fastest level: half of Pillow's time at its size on rendered
    scenes.
    """
    height, width, channels = frame.shape
    assert frame.dtype == np.uint8 and channels == 3, (frame.dtype, frame.shape)
    pixels = np.ascontiguousarray(frame).reshape(height, width * 3)
    rows = np.empty((height, 1 + width * 3), np.uint8)
    rows[:, 0] = _DIFFERENCE_TO_ROW_ABOVE
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    content = zlib.compress(rows.data, level=1)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def decode_png(content: bytes, *, turned: bool = False) -> np.ndarray:
    """A PNG (or any picture Pillow reads) to uint8 (h, w, 3); alpha is dropped.

    turned: as its EXIF orientation says; Hugging Face datasets read pictures so, and TensorFlow
    does not. Raises OSError if it is torn, and ValueError if it has more than 8 bits a channel, as
    depth has.
    """
    with Image.open(io.BytesIO(content)) as picture:
        if deep := deep_pixels(picture):
            raise ValueError(f"{deep} is neither 8-bit colour nor grey")
        upright = (
            ImageOps.exif_transpose(picture) if turned and _orientation(picture) != 1 else picture
        )
        return np.asarray(upright.convert("RGB"))


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened picture, turned as its EXIF orientation says."""
    on_its_side = _orientation(picture) in (5, 6, 7, 8)
    return (picture.width, picture.height) if on_its_side else (picture.height, picture.width)


def _orientation(picture: Image.Image) -> int:
    """EXIF's: 1 is upright."""
    return picture.getexif().get(ExifTags.Base.Orientation, 1)


def deep_pixels(picture: Image.Image) -> str | None:
    """What an opened picture's pixels are, if they have more than 8 bits a channel; None for
    ordinary pictures."""
    kinds = {"I": "whole numbers of 16 or 32 bits", "F": "floating-point numbers"}
    if picture.mode.startswith("I;16"):
        return "16-bit grey"
    if picture.mode in kinds:
        return kinds[picture.mode]
    # Of colour with 16 bits Pillow reads the upper 8: only what it asks of its decoder tells.
    asked = [str(tile[3]) for tile in getattr(picture, "tile", [])]
    return "16-bit colour" if any(kind in text for text in asked for kind in _DEEP) else None


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
    )
