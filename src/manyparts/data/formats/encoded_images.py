"""Images stored as encoded bytes, one string per step: JPEG, PNG, WebP and others of Pillow's."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import one_line
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.png import decode_png, high_bit_depth

# What Pillow raises for bytes that are no image, or a torn one.
IMAGE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_SIGNATURES = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}
_WEBP = (b"RIFF", b"WEBP")
_MIN_BYTES = 64  # a few numbers may begin like an image file by chance
# Channels of Pillow's modes once a palette ("P") is colour; 4 for all others.
_CHANNELS = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 2, "PA": 2, "P": 3, "RGB": 3, "YCbCr": 3}


def encoding_of(content: bytes | memoryview | np.ndarray) -> str | None:
    """ "PNG", "JPEG" or "WebP" if bytes, or uint8 (n,), look like such a file, else None."""
    begin = bytes(content[:12])
    if len(content) < _MIN_BYTES:
        return None
    if (begin[:4], begin[8:]) == _WEBP:
        return "WebP"
    return next((name for name, magic in _SIGNATURES.items() if begin.startswith(magic)), None)


def image_info(content: bytes | memoryview) -> ArrayInfo:
    """Shape (h, w, channels) and dtype of an encoded image's pixels, from its header alone.

    Raises:
        IMAGE_ERRORS: if it is no image.
    """
    with Image.open(io.BytesIO(content)) as image:
        channels = 1 if image.mode.startswith("I;16") else _CHANNELS.get(image.mode, 4)
        if image.mode == "F":
            dtype = np.dtype(np.float32)
        else:
            dtype = np.dtype(np.uint16 if high_bit_depth(image) else np.uint8)
        return ArrayInfo((image.height, image.width, channels), dtype)


def is_colour(info: ArrayInfo) -> bool:
    """Whether pixels (h, w, channels) are 8-bit colour or grey."""
    return info.dtype == np.uint8 and info.shape[2] in (1, 3)


def decoded_image_info(content: bytes) -> ArrayInfo | str:
    """Shape and dtype of an encoded image without its alpha; or why it is no 8-bit image."""
    try:
        info = image_info(content)
    except IMAGE_ERRORS as error:
        return f"encoded images that cannot be read: {one_line(error)}"
    if info.dtype != np.uint8:
        return f"encoded images of {info.dtype}, such as depth"
    return ArrayInfo((*info.shape[:2], 1 if info.shape[2] < 3 else 3), info.dtype)


def decode_images(
    contents: Iterable[bytes], rows: Sequence[int] | np.ndarray, where: str
) -> np.ndarray:
    """Decode images of one size.

    Args:
        contents: n encoded images.
        rows: their steps, for the error.
        where: how the error begins.

    Returns:
        uint8 (n, h, w, 3).

    Raises:
        UserError: naming the step with a torn image, or one of another size.
    """
    frames: list[np.ndarray] = []
    for row, content in zip(rows, contents, strict=True):
        try:
            frames.append(decode_png(content))
        except IMAGE_ERRORS as error:
            raise UserError(
                f"{where}, frame {row}, is not a readable image: {one_line(error)}"
            ) from error
        if frames[-1].shape != frames[0].shape:
            raise UserError(
                f"{where}, frame {row}, has shape {frames[-1].shape}, "
                f"frames before it {frames[0].shape}"
            )
    return np.stack(frames) if frames else np.zeros((0, 0, 0, 3), np.uint8)
