"""Check whether an image feature is 8-bit colour or grey, by its first file; depth is no camera."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from manyparts.core.errors import UserError
from manyparts.data.formats.files import open_parquet
from manyparts.data.formats.lerobot.features import channels_of
from manyparts.data.formats.lerobot.metadata import inside
from manyparts.data.png import high_bit_depth, upright_size
from manyparts.data.video import PixelFormat

_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_EXACT_BITS, _MAX_BITS = 8, 10


@dataclass(frozen=True)
class ImageCheck:
    """What an image or a video shows of its feature."""

    refused: str | None = None
    """Why the feature is no camera; None if it is one."""
    note: str | None = None
    """What is lost when it is read as a camera."""
    size: tuple[int, int] | None = None
    """(height, width) in pixels; None if it cannot be opened."""


def check_image(content: bytes) -> ImageCheck:
    """Check an encoded image; the result is empty if it cannot be opened."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if kind := high_bit_depth(image):
                return ImageCheck(refused=kind)
            note = "its alpha is dropped" if image.mode in _ALPHA else None
            return ImageCheck(note=note, size=upright_size(image))
    except (OSError, ValueError, SyntaxError):
        return ImageCheck()


def check_pixels(pixels: PixelFormat, feature: Mapping[str, Any]) -> ImageCheck:
    """Check a video: colour of 9 or 10 bits is read as 8; one channel, or more bits, is depth.

    Args:
        pixels: how the video stores its pixels.
        feature: the description of its feature in info.json.
    """
    if pixels.bits <= _EXACT_BITS:
        return ImageCheck(size=pixels.size)
    if pixels.bits > _MAX_BITS or pixels.colours < 3 or channels_of(feature) == 1:
        return ImageCheck(refused=f"{pixels.bits}-bit video ({pixels.name})")
    return ImageCheck(note=f"its {pixels.bits} bits are read as 8", size=pixels.size)


def content_of(image: Any, folder: Path) -> bytes:
    """The bytes of an image from the value in its row: bytes, or the name of a file.

    Args:
        image: the value, bytes or text or a mapping with "bytes" or "path".
        folder: the dataset's folder.

    Raises:
        OSError: if there is no such file.
        TypeError: if the value is neither bytes nor a name.
    """
    content = image.get("bytes") if isinstance(image, Mapping) else image
    if isinstance(content, bytes):
        return content
    name = image.get("path") if isinstance(image, Mapping) else image
    if not isinstance(name, str):
        raise TypeError("it has neither bytes nor a path")
    return inside(folder, name).read_bytes()


def image_files_named(file: Path, feature: str, folder: Path) -> Iterator[Path]:
    """The existing image files that rows of a data file name by their paths, each once.

    Args:
        file: the parquet file.
        feature: the name of the image feature.
        folder: the dataset's folder, which the paths are relative to.
    """
    opened = open_parquet(file)
    schema, metadata = opened.schema_arrow, opened.metadata
    kind = schema.field(feature).type if feature in schema.names else None
    if kind is None or pa.types.is_binary(kind):
        return
    if pa.types.is_struct(kind) and _holds_all_bytes(metadata, f"{feature}.bytes"):
        return
    column = f"{feature}.path" if pa.types.is_struct(kind) else feature
    images = opened.read(columns=[column])[feature].to_pylist()
    names = [image.get("path") if isinstance(image, dict) else image for image in images]
    for name in dict.fromkeys(names):
        if isinstance(name, str):
            with contextlib.suppress(UserError, OSError):
                if (image_file := inside(folder, name)).is_file():
                    yield image_file


def _holds_all_bytes(metadata: pq.FileMetaData, column: str) -> bool:
    """Whether a column has a value in each row, by its statistics."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for index in range(group.num_columns):
            if group.column(index).path_in_schema == column:
                statistics = group.column(index).statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    return False
    return True
