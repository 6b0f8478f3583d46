"""Whether an image feature is 8-bit colour or grey, by what its first file holds; depth and the
like are no cameras."""

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
    """refused: why a feature is no camera. note: what is lost when it is read as one. size:
    (height, width) in pixels, None where nothing can be opened."""

    refused: str | None = None
    note: str | None = None
    size: tuple[int, int] | None = None


def check_image(content: bytes) -> ImageCheck:
    """A picture that cannot be opened tells nothing."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if deep := high_bit_depth(picture):
                return ImageCheck(refused=deep)
            note = "its alpha is dropped" if picture.mode in _ALPHA else None
            return ImageCheck(note=note, size=upright_size(picture))
    except (OSError, ValueError, SyntaxError):
        return ImageCheck()


def check_pixels(pixels: PixelFormat, feature: Mapping[str, Any]) -> ImageCheck:
    """Colour of 9 or 10 bits is read as 8; of one channel, or of more bits, it is depth."""
    if pixels.bits <= _EXACT_BITS:
        return ImageCheck(size=pixels.size)
    if pixels.bits > _MAX_BITS or pixels.colours < 3 or channels_of(feature) == 1:
        return ImageCheck(refused=f"{pixels.bits}-bit video ({pixels.name})")
    return ImageCheck(note=f"its {pixels.bits} bits are read as 8", size=pixels.size)


def content_of(picture: Any, folder: Path) -> bytes:
    """The bytes of a picture as a row holds it: as they are, or by the name of a file of the
    dataset.

    Raises OSError where there is no such file, and TypeError for anything else.
    """
    content = picture.get("bytes") if isinstance(picture, Mapping) else picture
    if isinstance(content, bytes):
        return content
    name = picture.get("path") if isinstance(picture, Mapping) else picture
    if not isinstance(name, str):
        raise TypeError("it has neither bytes nor a path")
    return inside(folder, name).read_bytes()


def image_files_named(file: Path, feature: str, folder: Path) -> Iterator[Path]:
    """The files of pictures that rows of a data file name by their path, as far as there are such
    files."""
    opened = open_parquet(file)
    schema, metadata = opened.schema_arrow, opened.metadata
    kind = schema.field(feature).type if feature in schema.names else None
    if kind is None or pa.types.is_binary(kind):
        return
    if pa.types.is_struct(kind) and _holds_all_bytes(metadata, f"{feature}.bytes"):
        return
    column = opened.read(columns=[feature if not pa.types.is_struct(kind) else f"{feature}.path"])[
        feature
    ]
    pictures = column.to_pylist()
    names = [picture.get("path") if isinstance(picture, dict) else picture for picture in pictures]
    for name in dict.fromkeys(names):
        if isinstance(name, str):
            with contextlib.suppress(UserError, OSError):
                if (picture := inside(folder, name)).is_file():
                    yield picture


def _holds_all_bytes(metadata: pq.FileMetaData, column: str) -> bool:
    """Whether statistics say that a column has a value in each row."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for number in range(group.num_columns):
            if group.column(number).path_in_schema == column:
                statistics = group.column(number).statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    return False
    return True
