"""Read rows of the arrays of a zarr store."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import PackageError
from manyparts.data.formats.errors import one_line
from manyparts.data.formats.zarr.codecs import decode_chunk, why_not_decoded
from manyparts.data.formats.zarr.metadata import MAX_BYTES, Layout, parse_layout
from manyparts.data.formats.zarr.stores import Store

# Chunks that are not stored cost nothing, so that a small file could claim any size.
_MAX_MISSING = 1000  # for each chunk that is stored
_FREE_CHUNKS, _FREE_BYTES = 10**7, 2**30  # in any case
_KEPT_BYTES = 2**26  # a chunk up to this size is kept, since the next episode may begin in it


@dataclass
class ZarrArray:
    """An array of a store."""

    store: Store
    """The store."""
    name: str
    """The array's path in the store."""
    layout: Layout
    """How it is stored."""
    _kept: tuple[str, np.ndarray] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype of what is read, in the machine's byte order."""
        return self.layout.dtype.newbyteorder("=")

    @property
    def length(self) -> int:
        """The number of rows."""
        return self.layout.shape[0]

    def rows(self, first: int, stop: int) -> np.ndarray:
        """Read some rows.

        Args:
            first: the first row.
            stop: the row after the last one, at most the array's length.

        Returns:
            (stop - first, ...), in the array's dtype.

        Raises:
            UserError: naming the chunk that is torn, or missing without a fill value.
        """
        values = np.empty((stop - first, *self.shape[1:]), self.dtype)
        if values.nbytes > MAX_BYTES:
            raise UserError(f"{self._where()} holds {values.nbytes} bytes in {len(values)} rows")
        if not values.size:
            return values
        depth = self.layout.chunks[0]
        for number in range(first // depth, (stop - 1) // depth + 1):
            begin, end = max(first, number * depth), min(stop, (number + 1) * depth)
            inside = slice(begin - number * depth, end - number * depth)
            for others in itertools.product(*map(range, self.layout.grid[1:])):
                corners = [
                    slice(index * side, min((index + 1) * side, whole))
                    for index, side, whole in zip(
                        others, self.layout.chunks[1:], self.shape[1:], strict=True
                    )
                ]
                part = tuple(slice(0, corner.stop - corner.start) for corner in corners)
                chunk = self._chunk((number, *others))
                values[slice(begin - first, end - first), *corners] = chunk[inside, *part]
        return values

    @cached_property
    def missing(self) -> int:
        """How many chunks are not stored: their rows are the fill value."""
        return max(0, math.prod(self.layout.grid) - self.store.count_chunks(self.name))

    def missing_note(self) -> str:
        """A note for users on chunks that are not stored; "" if all are."""
        if not self.missing:
            return ""
        return (
            f"{self.name}: {self.missing} of {math.prod(self.layout.grid)} chunks are not stored; "
            f"their rows are the fill value {self.layout.fill}"
        )

    def _chunk(self, numbers: tuple[int, ...]) -> np.ndarray:
        key = self.layout.key(numbers)
        kept = self._kept  # read once: another thread may replace it
        if kept is not None and kept[0] == key:
            return kept[1]
        content = self.store.read(key)
        if content is None:
            if self.layout.fill is None:
                raise UserError(
                    f"{self._where()}: chunk {key} is missing, and no fill value is set"
                )
            return np.broadcast_to(np.asarray(self.layout.fill), self.layout.chunks)
        try:
            chunk = decode_chunk(content, self.layout)
        except PackageError:
            raise
        except (ValueError, MemoryError) as error:
            raise UserError(f"{self._where()}: chunk {key} is torn: {one_line(error)}") from error
        if chunk.nbytes <= _KEPT_BYTES:
            self._kept = key, chunk
        return chunk

    def _where(self) -> str:
        return f"{self.store.path}: {self.name}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}


def open_arrays(store: Store) -> tuple[dict[str, ZarrArray], dict[str, str]]:
    """Open all arrays of a store.

    Returns:
        The arrays by their paths in the store, and why others cannot be read.
    """
    arrays: dict[str, ZarrArray] = {}
    faults: dict[str, str] = {}
    for key in store.metadata_keys():
        name = key.rpartition("/")[0]
        try:
            layout = parse_layout(key, store.read(key) or b"", f"{store.path}: {key}")
        except UserError as error:
            faults[name] = str(error)
            continue
        if layout is None or name in arrays:  # a group, or described in both formats
            continue
        array = ZarrArray(store, name, layout)
        if why := why_not_decoded(layout) or _why_absurd(array):
            faults[name] = why
        else:
            arrays[name] = array
    return arrays, faults


def _why_absurd(array: ZarrArray) -> str:
    """Why an array claims to hold far more than its store has; "" if it does not."""
    layout = array.layout
    chunks, bytes_per_chunk = (
        math.prod(layout.grid),
        math.prod(layout.chunks) * array.dtype.itemsize,
    )
    allowed = _FREE_CHUNKS + _MAX_MISSING * (chunks - array.missing)
    allowed_bytes = _FREE_BYTES + _MAX_MISSING * (chunks - array.missing) * bytes_per_chunk
    if array.missing > allowed or array.missing * bytes_per_chunk > allowed_bytes:
        return f"claims {layout.bytes} bytes; {array.missing} of {chunks} chunks are not stored"
    return ""
