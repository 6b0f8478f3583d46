"""Take times, numbers, texts and images out of ROS messages."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from manyparts.core.errors import UserError, closest
from manyparts.core.printing import printable
from manyparts.data.formats import arrays
from manyparts.data.formats.bags.mapping import ValueSource
from manyparts.data.formats.encoded_images import IMAGE_ERRORS
from manyparts.data.formats.errors import one_line
from manyparts.data.png import decode_png

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1}
_UNORDERED = {"8UC3": 3, "8UC4": 4}  # colours in an order that the encoding does not say
_DEPTHS = ("16UC1", "32FC1", "mono16", "64FC1", "16SC1")
_MAX_PIXELS, _MAX_VALUES = 2**26, 100_000


def stamp_of(message: Any) -> int | None:
    """The time in a message's header, in nanoseconds; None if it has no header."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is None:
        return None
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def numbers_of(message: Any, source: ValueSource) -> tuple[np.ndarray, list[str]]:
    """The numbers of a message.

    Args:
        message: the message.
        source: which field of it.

    Returns:
        float64 (d,), and a name for each: the joint's if the message names joints.

    Raises:
        UserError: there is no such field, or it holds something else than numbers.
    """
    if getattr(message, "__msgtype__", "") in (RAW, COMPRESSED) and source.field in ("", "data"):
        raise UserError("it is an image, and no numbers; name its topic in cameras")
    node = _field(message, source.field)
    parts = list(_leaves(node, source.field.split(".") if source.field else []))
    if not parts:
        raise UserError(f"{source.field or 'the message'} holds no numbers")
    values = np.concatenate([part for _, part in parts])
    if not len(values):
        raise UserError(f"{source.field or 'the message'} is empty")
    if len(values) > _MAX_VALUES:
        raise UserError(f"{source.field or 'the message'} holds {len(values)} numbers")
    joints = joints_of(message)
    if isinstance(node, np.ndarray | list) and joints and len(joints) == len(values):
        last = source.field.rpartition(".")[2]
        return values, [f"{joint}.{last}" for joint in joints]
    names = []
    for path, part in parts:
        names += [path] if len(part) == 1 else [f"{path}_{number}" for number in range(len(part))]
    return values, names


def joints_of(message: Any) -> list[str]:
    """The names of the joints that a message is about; empty if it names none."""
    names = getattr(message, "name", None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    return list(map(printable, names))


def text_of(message: Any, field: str) -> str:
    """A message's text. Raises UserError if the field is none."""
    value = _field(message, field or "data")
    if not isinstance(value, str):
        raise UserError(f"{field or 'data'} is no text")
    return value.strip()


def decode_image(message: Any, kind: str, colours: str | None) -> np.ndarray:
    """Decode a message's image.

    Args:
        message: the message.
        kind: its type, `RAW` or `COMPRESSED`.
        colours: the order of its colours, "rgb" or "bgr"; None: as the message says.

    Returns:
        uint8 (h, w, 3).

    Raises:
        UserError: it is torn, depth, or of an encoding that is not read.
    """
    return _decode_raw(message, colours) if kind == RAW else _decode_compressed(message, colours)


def _decode_raw(message: Any, colours: str | None) -> np.ndarray:
    encoding = str(message.encoding)
    if encoding in _DEPTHS:
        raise UserError(f"its encoding is {encoding}, which is depth, or more than 8 bits")
    if encoding in _UNORDERED and colours is None:
        raise UserError(
            f'its encoding {encoding} does not say the order of colours; add "colours": "bgr", or '
            '"rgb"'
        )
    channels = {**_CHANNELS, **_UNORDERED}.get(encoding)
    if channels is None:
        raise UserError(f"its encoding is {encoding!r}; {closest(encoding, _CHANNELS)}")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.asarray(message.data, np.uint8)
    if not 0 < height * width <= _MAX_PIXELS or step < width * channels:
        raise UserError(f"it has {height} x {width} pixels in rows of {step} bytes")
    if len(data) < step * height:
        raise UserError(f"it holds {len(data)} bytes; {height} rows of {step} bytes are expected")
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(1, height, width, channels)[..., :3]
    is_blue_first = (colours or encoding[:3]) == "bgr" and channels >= 3
    return arrays.colour(pixels[..., ::-1] if is_blue_first else pixels)[0]


def _decode_compressed(message: Any, colours: str | None) -> np.ndarray:
    form = str(message.format)
    if "compressedDepth" in form:
        raise UserError(f"its format is {form!r}, which is depth")
    content = np.asarray(message.data, np.uint8).tobytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise UserError(f"it has {image.height} x {image.width} pixels")
        pixels = decode_png(content)
    except IMAGE_ERRORS as error:
        raise UserError(f"it cannot be decoded: {one_line(error)}") from error
    # image_transport writes "ORIGINAL; jpeg compressed STORED". A file stored from rgb8 was made as
    # if it were bgr8, so that its red and blue are swapped; ROS's own subscriber swaps them back.
    _, _, stored = form.partition("compressed ")
    swapped = colours == "bgr" if colours else ";" in form and stored.strip().startswith("rgb")
    return pixels[..., ::-1] if swapped else pixels


def _field(message: Any, path: str) -> Any:
    """A field of a message by its path."""
    node = message
    for part in path.split(".") if path else ():
        fields = _field_names(node)
        if part not in fields:
            which = closest(part, fields) if fields else "it has no fields"
            raise UserError(f"there is no field {path!r}: no {part!r}; {which}")
        node = getattr(node, part)
    return node


def _is_text(value: Any) -> bool:
    """Whether a value is a text, or a list of texts, such as joints' names."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    return isinstance(value, str)


def _field_names(node: Any) -> list[str]:
    if not dataclasses.is_dataclass(node):
        return []
    return [field.name for field in dataclasses.fields(node) if not field.name.startswith("__")]


def _leaves(node: Any, path: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """All numbers below a field, each field's as float64 (n,), by its path; headers and texts
    inside of messages are left out."""
    name = ".".join(path) or "value"
    if isinstance(node, bool | int | float | np.number):
        yield name, np.asarray([node], np.float64)
    elif isinstance(node, np.ndarray) and node.dtype.kind in "biuf":
        yield name, node.astype(np.float64).reshape(-1)
    elif isinstance(node, list) and node and all(isinstance(each, int | float) for each in node):
        yield name, np.asarray(node, np.float64)
    elif dataclasses.is_dataclass(node):
        for part in _field_names(node):
            value = getattr(node, part)
            if part != "header" and not _is_text(value):
                yield from _leaves(value, (*path, part))
    elif isinstance(node, list | np.ndarray) and not len(node):
        yield name, np.zeros(0)
    else:
        raise UserError(f"{name} is {type(node).__name__} and no numbers; name a field below it")
