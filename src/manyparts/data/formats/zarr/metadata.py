"""The description of a zarr array, of format 2 (.zarray) or 3 (zarr.json)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import format_errors, one_line

MAX_BYTES = 4 * 2**30  # of a chunk, and of what is read at once
_MAX_DIMENSIONS, _MAX_ITEM_BYTES, _MAX_SIDE = 8, 2**20, 2**40
_DTYPE = re.compile(r"[<>|=]?[biufSU]\d{1,7}")  # numpy would parse whole programs of types
_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FORMAT_3_TYPES = {"bool", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class Layout:
    """How an array is stored."""

    shape: tuple[int, ...]
    """The array's shape."""
    chunks: tuple[int, ...]
    """The shape of a chunk."""
    dtype: np.dtype
    """The stored dtype, with its byte order."""
    fill: Any
    """The value of chunks that are not stored; None if it is not set."""
    column_major: bool
    """Whether chunks are stored in Fortran's order."""
    codecs: tuple[Mapping[str, Any], ...]
    """What decodes a chunk, the first one first, each with its "id"."""
    prefix: str
    """What the keys of chunks begin with."""
    separator: str
    """What stands between the numbers of a chunk."""

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks there are along each axis."""
        return tuple(-(-side // chunk) for side, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def bytes(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def key(self, numbers: Sequence[int]) -> str:
        """The key of a chunk."""
        return self.prefix + self.separator.join(map(str, numbers))


def parse_layout(key: str, content: bytes, where: str) -> Layout | None:
    """Parse a description.

    Args:
        key: the key of the file.
        content: its content.
        where: the file, for errors.

    Returns:
        The layout; None for a group.

    Raises:
        UserError: it is torn, or describes something that is not read.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not readable JSON: {one_line(error)}") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{where} is not a JSON object")
    folder = key.rpartition("/")[0]
    with format_errors(where, "zarr"):
        if key.endswith(".zarray"):
            layout = _parse_2(values, f"{folder}/", where)
        elif values["node_type"] == "group":
            return None
        else:
            layout = _parse_3(values, f"{folder}/", where)
        _require_sane(layout, where)
        return layout


def _parse_2(values: Mapping[str, Any], prefix: str, where: str) -> Layout:
    if values["zarr_format"] != 2:
        raise UserError(f"{where} has zarr_format {values['zarr_format']!r}; expected 2")
    dtype = _dtype(values["dtype"], where)
    compressor, filters = values.get("compressor"), values.get("filters") or []
    codecs = [*([compressor] if compressor else []), *reversed(filters)]
    if (order := values.get("order", "C")) not in ("C", "F"):
        raise UserError(f"{where} has order {order!r}; expected C or F")
    return Layout(
        shape=_sides(values["shape"]),
        chunks=_sides(values["chunks"]),
        dtype=dtype,
        fill=_fill(values.get("fill_value"), dtype),
        column_major=order == "F",
        codecs=tuple(_codec(codec, where) for codec in codecs),
        prefix=prefix,
        separator=_separator(values.get("dimension_separator", "."), where),
    )


def _parse_3(values: Mapping[str, Any], prefix: str, where: str) -> Layout:
    if values["zarr_format"] != 3:
        raise UserError(f"{where} has zarr_format {values['zarr_format']!r}; expected 3")
    if values["data_type"] not in _FORMAT_3_TYPES:
        raise UserError(f"{where} holds {values['data_type']!r}, which is not read")
    grid = values["chunk_grid"]
    if grid["name"] != "regular":
        raise UserError(f"{where} has chunks in a grid {grid['name']!r}, which is not read")
    first, *others = values["codecs"]
    if first["name"] != "bytes":
        raise UserError(
            f"{where} is stored with {first['name']!r}, which is not read; write it without "
            "shards and in C order"
        )
    big = (first.get("configuration") or {}).get("endian") == "big"
    dtype = np.dtype(values["data_type"]).newbyteorder(">" if big else "<")
    encoding = values["chunk_key_encoding"]
    options = encoding.get("configuration") or {}
    default = encoding["name"] == "default"
    separator = _separator(options.get("separator", "/" if default else "."), where)
    codecs = [
        {**(codec.get("configuration") or {}), "id": codec["name"].removeprefix("numcodecs.")}
        for codec in others
    ]
    return Layout(
        shape=_sides(values["shape"]),
        chunks=_sides(grid["configuration"]["chunk_shape"]),
        dtype=dtype,
        fill=_fill(values.get("fill_value"), dtype),
        column_major=False,
        codecs=tuple(reversed(codecs)),
        prefix=f"{prefix}c{separator}" if default else prefix,
        separator=separator,
    )


def _require_sane(layout: Layout, where: str) -> None:
    if not 1 <= len(layout.shape) <= _MAX_DIMENSIONS or len(layout.chunks) != len(layout.shape):
        raise UserError(f"{where} has shape {layout.shape} in chunks of {layout.chunks}")
    if min(layout.shape) < 0 or max(layout.shape) > _MAX_SIDE or min(layout.chunks) < 1:
        raise UserError(f"{where} has shape {layout.shape} in chunks of {layout.chunks}")
    size = math.prod(layout.chunks) * layout.dtype.itemsize
    if size > MAX_BYTES:
        raise UserError(f"{where} has chunks of {size} bytes; at most {MAX_BYTES} are read")


def _sides(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(side) is int for side in values):
        raise TypeError(f"{values!r} is no shape")
    return tuple(values)


def _dtype(text: Any, where: str) -> np.dtype:
    if not isinstance(text, str):
        raise UserError(f"{where} holds records of several types, which are not read")
    if not _DTYPE.fullmatch(text) or np.dtype(text).itemsize > _MAX_ITEM_BYTES:
        raise UserError(f"{where} holds {text[:80]}, which is not read")
    return np.dtype(text)


def _fill(value: Any, dtype: np.dtype) -> Any:
    """The fill value as numpy takes it; None if it is not set."""
    if value is None or dtype.kind in "SU":
        return None if value is None else np.zeros((), dtype)[()]
    if isinstance(value, str) and value not in _FLOATS:
        raise ValueError(f"fill_value is {value!r}")
    return np.asarray(_FLOATS.get(value, value) if isinstance(value, str) else value).astype(dtype)


def _codec(codec: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(codec, Mapping) or not isinstance(codec.get("id"), str):
        raise UserError(f"{where} has a codec without a name: {str(codec)[:80]}")
    return codec


def _separator(value: Any, where: str) -> str:
    if value not in (".", "/"):
        raise UserError(f"{where} has chunks' numbers parted by {value!r}; expected . or /")
    return value
