"""Pictures that lie in an array as encoded bytes, a string a step: JPEG, PNG and what else Pillow knows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from manyparts.data.formats.arrays import Entry
from manyparts.data.formats.errors import one_line
from manyparts.data.png import decode_png
from manyparts.types import UserError

_JPEG, _PNG, _WEBP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", (b"RIFF", b"WEBP")
_SHORTEST = 64  # bytes: a few numbers may begin in the same way by chance
_COLOUR_MODES = ("L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # 8 bits a channel
_TORN = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError, struct.error, zlib.error),
    Image.DecompressionBombError,
)


def looks_encoded(content: bytes) -> bool:
    """Whether bytes begin as a JPEG, PNG or WebP picture does."""
    is_webp = (content[:4], content[8:12]) == _WEBP
    return len(content) >= _SHORTEST and (is_webp or content.startswith((_JPEG, _PNG)))


def picture_entry(content: bytes) -> Entry | str:
    """What an encoded picture is like, from its head alone; or why it is no picture of 8-bit colour or grey."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.mode not in _COLOUR_MODES:
                return f"encoded pictures of mode {picture.mode}, which is not 8-bit colour or grey"
            return Entry((picture.height, picture.width, 3), np.dtype(np.uint8))
    except _TORN as error:
        return f"encoded pictures that cannot be read: {one_line(error)}"


def decode_pictures(contents: Iterable[bytes], rows: Sequence[int] | np.ndarray, where: str) -> np.ndarray:
    """Encoded pictures of one size to uint8 (n, h, w, 3). rows: their steps, for the UserError that begins with `where`
    and names the step that is torn, or of another size."""
    frames: list[np.ndarray] = []
    for row, content in zip(rows, contents, strict=True):
        try:
            frames.append(decode_png(content))
        except _TORN as error:
            raise UserError(f"{where}, frame {row}, is not a readable picture: {one_line(error)}") from error
        if frames[-1].shape != frames[0].shape:
            raise UserError(f"{where}, frame {row}, has shape {frames[-1].shape}, frames before it {frames[0].shape}")
    return np.stack(frames) if frames else np.zeros((0, 0, 0, 3), np.uint8)
