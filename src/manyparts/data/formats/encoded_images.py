"""Images that lie in files as encoded bytes, one string per step: JPEG, PNG, WebP and what else
Pillow knows."""

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

IMAGE_ERRORS = (
    *(
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        OverflowError,
        struct.error,
        zlib.error,
    ),
    Image.DecompressionBombError,
)
_BEGINNINGS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}
_WEBP = (b"RIFF", b"WEBP")
_SHORTEST = 64  # bytes: a few numbers may begin in the same way by chance
_CHANNELS = {
    "1": 1,
    "L": 1,
    "I": 1,
    "F": 1,
    "LA": 2,
    "PA": 2,
    "P": 3,
    "RGB": 3,
    "YCbCr": 3,
}  # a palette is colour


def encoding_of(content: bytes | memoryview | np.ndarray) -> str | None:
    """ "PNG", "JPEG" or "WebP" if bytes, or uint8 (n,), begin as such a file does and are long
    enough for one."""
    begin = bytes(content[:12])
    if len(content) < _SHORTEST:
        return None
    if (begin[:4], begin[8:]) == _WEBP:
        return "WebP"
    return next((name for name, magic in _BEGINNINGS.items() if begin.startswith(magic)), None)


def image_info(content: bytes | memoryview) -> ArrayInfo:
    """Shape (h, w, channels) and dtype of an image's pixels as the file holds them, from its head
    alone.

    Raises one of IMAGE_ERRORS if it is no image.
    """
    with Image.open(io.BytesIO(content)) as image:
        channels = 1 if image.mode.startswith("I;16") else _CHANNELS.get(image.mode, 4)
        dtype = np.float32 if image.mode == "F" else np.uint16 if high_bit_depth(image) else np.uint8
        return ArrayInfo((image.height, image.width, channels), np.dtype(dtype))


def is_colour(entry: ArrayInfo) -> bool:
    """Whether pixels (h, w, channels) are 8-bit colour or grey."""
    return entry.dtype == np.uint8 and entry.shape[2] in (1, 3)


def decoded_image_info(content: bytes) -> ArrayInfo | str:
    """What an encoded image holds once its alpha is dropped, colour or grey; or why it is no image
    of 8 bits."""
    try:
        entry = image_info(content)
    except IMAGE_ERRORS as error:
        return f"encoded images that cannot be read: {one_line(error)}"
    if entry.dtype != np.uint8:
        return f"encoded images of {entry.dtype}, such as depth"
    return ArrayInfo((*entry.shape[:2], 1 if entry.shape[2] < 3 else 3), entry.dtype)


def decode_images(
    contents: Iterable[bytes], rows: Sequence[int] | np.ndarray, where: str
) -> np.ndarray:
    """Encoded images of one size to uint8 (n, h, w, 3).

    Args:
        rows: their steps, for the error.
        where: how the error begins.

    Raises:
        UserError: naming the step whose image is torn, or of another size.
    """
    frames: list[np.ndarray] = []
    for row, content in zip(rows, contents, strict=True):
        try:
            frames.append(decode_png(content))
        except IMAGE_ERRORS as error:
            raise UserError(
                f"{where}, frame {row}, is not a readable picture: {one_line(error)}"
            ) from error
        if frames[-1].shape != frames[0].shape:
            raise UserError(
                f"{where}, frame {row}, has shape {frames[-1].shape}, frames before it {frames[0].shape}"
            )
    return np.stack(frames) if frames else np.zeros((0, 0, 0, 3), np.uint8)
