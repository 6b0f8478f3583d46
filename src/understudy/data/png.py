"""PNG pictures to and from uint8 arrays."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def encode_png(frame: np.ndarray) -> bytes:
    """uint8 (h, w, 3) to PNG. Equal frames give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(content: bytes) -> np.ndarray:
    """A PNG (or any picture Pillow reads) to uint8 (h, w, 3). Raises OSError or ValueError if it is torn."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))
