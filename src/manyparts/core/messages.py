"""Messages of policy servers: MessagePack with arrays, bounded in size and without pickle.

Two dialects are read at once, and one of them is written. They differ in how they mark an array:
openpi's by the key b"__ndarray__" in bytes, vla-eval's by "__ndarray__" as text. vla-eval also
sends images as PNG, JPEG or raw pixels.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command, load_package

Dialect = Literal["openpi", "vla-eval"]
_Container = TypeVar("_Container", list[Any], dict[Any, Any])

_ARRAY, _SCALAR, _IMAGE = "__ndarray__", "__npgeneric__", "__image__"
_FIELDS = {"data", "dtype", "shape", "format", _ARRAY, _SCALAR, _IMAGE}
_DTYPE = re.compile(r"[<>|=]?[biuf][1248]")  # no objects, no records, no texts
_IMAGE_FORMATS = ("PNG", "JPEG")
_MAX_TEXT = 300  # letters of an error


class MessageError(UserError):
    """A message cannot be read, or is larger than allowed. It may quote what a stranger sent, so
    its text is cut, and is one line."""

    def __init__(self, text: object = "") -> None:
        super().__init__(" ".join(str(text).split())[:_MAX_TEXT])


@dataclass(frozen=True)
class Limits:
    """How much a message of a stranger may hold."""

    message_bytes: int = 32 * 2**20
    """Bytes of a message as it is sent."""

    decoded_bytes: int = 128 * 2**20
    """Bytes of all of its arrays and images together, once decoded."""

    rank: int = 8
    """Dimensions of an array."""

    entries: int = 4096
    """Entries of a mapping or a list."""

    values: int = 2**16
    """Mappings, lists and their entries in all."""


def unpack(data: bytes, limits: Limits = Limits()) -> Any:
    """Return the values of a message of either dialect.

    Arrays are read-only and share the message's memory where they can.

    Args:
        data: The message.
        limits: How much it may hold.

    Raises:
        MessageError: It is no such message, or it is too large.
    """
    if len(data) > limits.message_bytes:
        raise MessageError(f"a message of {len(data)} bytes; at most {limits.message_bytes}")
    reader = _Reader(limits)
    try:
        return _msgpack().unpackb(
            data,
            object_hook=reader.value_of,
            list_hook=reader.counted,
            ext_hook=_refuse_extension,
            raw=False,
            strict_map_key=False,
            max_map_len=limits.entries,
            max_array_len=limits.entries,
        )
    except MessageError:
        raise
    except Exception as error:  # msgpack and its hooks raise anything at bytes of a stranger
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise MessageError(f"the message is no MessagePack that can be read: {reason}") from error


def pack(value: Any, dialect: Dialect) -> bytes:
    """Return the message of values.

    Args:
        value: Mappings, lists, texts, numbers, booleans, None, and arrays.
        dialect: How arrays are marked.

    Raises:
        TypeError: There is something else in it.
    """
    return _msgpack().packb(value, default=_MARKERS[dialect], use_bin_type=True)


class _Reader:
    """Makes arrays of the mappings that stand for them, and counts bytes and values."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._left = limits, limits.decoded_bytes
        self._values_left = limits.values

    def counted(self, values: _Container) -> _Container:
        """Return a list or a mapping, with its entries counted: each of them takes memory and time,
        however few bytes it has in the message."""
        self._values_left -= 1 + len(values)
        if self._values_left < 0:
            raise MessageError(f"the message has more than {self._limits.values} values")
        return values

    def value_of(self, mapping: dict[Any, Any]) -> Any:
        """Return the array or the number that a mapping stands for, or the mapping itself."""
        self.counted(mapping)
        for marker, read in (
            (_ARRAY, self._array),
            (_SCALAR, self._scalar),
            (_IMAGE, self._image),
        ):
            if marker in mapping or marker.encode() in mapping:
                return read(_by_text(mapping))
        return mapping

    def _array(self, fields: Mapping[str, Any]) -> np.ndarray:
        dtype, shape = _dtype_of(fields), self._shape_of(fields)
        data = fields.get("data")
        size = math.prod(shape) * dtype.itemsize
        if not isinstance(data, bytes) or len(data) != size:
            held = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
            raise MessageError(f"an array of {dtype} {shape} has {held} of data; expected {size}")
        self._take(size)
        array = np.frombuffer(data, dtype).reshape(shape)
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))

    def _scalar(self, fields: Mapping[str, Any]) -> np.generic:
        value = fields.get("data")
        if not isinstance(value, bool | int | float):
            raise MessageError(f"a number is a {type(value).__name__}")
        with np.errstate(over="ignore"):  # a number that overflows is refused where it is read
            return _dtype_of(fields).type(value)

    def _image(self, fields: Mapping[str, Any]) -> np.ndarray:
        kind, data = fields.get("format"), fields.get("data")
        if kind == "raw":
            return self._array({"dtype": "|u1", **fields})
        if not isinstance(data, bytes) or str(kind).upper() not in _IMAGE_FORMATS:
            raise MessageError(
                f"an image has the format {str(kind)[:40]!r}; choices: png, jpeg, raw"
            )
        try:
            with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
                # The size stands in the header: nothing is decoded before it is checked.
                self._take(image.width * image.height * 4)
                plain = image.mode in ("L", "RGB", "RGBA")
                return np.asarray(image if plain else image.convert("RGB"))
        except MessageError:
            raise
        except UnidentifiedImageError as error:  # its text is an address in memory
            raise MessageError("an image cannot be decoded: it is none") from error
        except (Image.DecompressionBombError, OSError, ValueError) as error:
            raise MessageError(f"an image cannot be decoded: {error}") from error

    def _shape_of(self, fields: Mapping[str, Any]) -> tuple[int, ...]:
        shape = fields.get("shape")
        if not isinstance(shape, list | tuple) or len(shape) > self._limits.rank:
            raise MessageError(f"an array has the shape {str(shape)[:80]}")
        if not all(type(size) is int and 0 <= size <= self._limits.decoded_bytes for size in shape):
            raise MessageError(f"an array has the shape {str(shape)[:80]}")
        return tuple(shape)

    def _take(self, size: int) -> None:
        """Count bytes of an array. Raises MessageError if they are too many."""
        if size > self._left:
            raise MessageError(
                f"the arrays of a message have more than {self._limits.decoded_bytes} bytes"
            )
        self._left -= size


def _by_text(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of a marked mapping by text. Raises MessageError if there are others."""
    fields = {
        key.decode("ascii", "replace") if isinstance(key, bytes) else key: value
        for key, value in mapping.items()
    }
    if not fields.keys() <= _FIELDS:
        raise MessageError("an array has fields that no array has")
    return fields


def _dtype_of(fields: Mapping[str, Any]) -> np.dtype[Any]:
    name = fields.get("dtype")
    if isinstance(name, bytes):
        name = name.decode("ascii", "replace")
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise MessageError(f"an array has the dtype {str(name)[:40]!r}, which is not read")
    try:
        return np.dtype(name)
    except TypeError as error:  # such as f1
        raise MessageError(f"an array has the dtype {name!r}, which is not read") from error


def _refuse_extension(code: int, data: bytes) -> Any:
    raise MessageError(f"the message has an extension of type {code}; none is read")


def _for_openpi(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data, shape = value.tobytes(), list(value.shape)
        return {b"__ndarray__": True, b"data": data, b"dtype": value.dtype.str, b"shape": shape}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _for_vla_eval(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data, shape = value.tobytes(), list(value.shape)
        return {_ARRAY: True, "data": data, "dtype": value.dtype.str, "shape": shape}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


_MARKERS: Mapping[Dialect, Callable[[Any], Any]] = {
    "openpi": _for_openpi,
    "vla-eval": _for_vla_eval,
}


def _msgpack() -> Any:
    return load_package("msgpack", "a policy server", install_command("serve"))
