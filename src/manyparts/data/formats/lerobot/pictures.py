"""Whether an image feature is 8-bit colour or grey, by what its first file holds; depth and the like are no cameras."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from manyparts.data.formats.lerobot.features import channels_of
from manyparts.data.formats.lerobot.metadata import inside
from manyparts.data.png import deep_pixels
from manyparts.data.video import pixel_format

_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_EXACT_BITS, _MAX_BITS = 8, 10


@dataclass(frozen=True)
class Look:
    """refused: why a feature is no camera. note: what is lost when it is read as one."""

    refused: str | None = None
    note: str | None = None


def look_at_picture(content: bytes) -> Look:
    """A picture that cannot be opened tells nothing."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if deep := deep_pixels(picture):
                return Look(refused=deep)
            return Look(note="its alpha is dropped" if picture.mode in _ALPHA else None)
    except (OSError, ValueError, SyntaxError):
        return Look()


def look_at_video(file: Path, feature: Mapping[str, Any]) -> Look:
    """Colour of 9 or 10 bits is read as 8; of one channel, or of more bits, it is depth. Raises UserError for a torn
    file."""
    pixels = pixel_format(file)
    if pixels.bits <= _EXACT_BITS:
        return Look()
    if pixels.bits > _MAX_BITS or pixels.colours < 3 or channels_of(feature) == 1:
        return Look(refused=f"{pixels.bits}-bit video ({pixels.name})")
    return Look(note=f"its {pixels.bits} bits are read as 8")


def content_of(picture: Any, folder: Path) -> bytes:
    """The bytes of a picture as a row holds it: as they are, or by the name of a file of the dataset.

    Raises OSError where there is no such file, and TypeError for anything else.
    """
    content = picture.get("bytes") if isinstance(picture, Mapping) else picture
    if isinstance(content, bytes):
        return content
    name = picture.get("path") if isinstance(picture, Mapping) else picture
    if not isinstance(name, str):
        raise TypeError("it has neither bytes nor a path")
    return inside(folder, name).read_bytes()
