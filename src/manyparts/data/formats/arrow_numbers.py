"""Convert columns of Arrow tables to numpy arrays, by one rule for all formats on Arrow or
Parquet."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Convert a column of numbers, or of lists of d numbers of any depth; a null float is NaN.

    Returns:
        (T,) or (T, d).

    Raises:
        ValueError: if it holds something else, if rows differ in length, or if a row or an integer
            is null: flattened, such rows would shift all that follow.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    flat = array
    while _is_list(flat.type):
        if (irregular := _first_irregular(flat)) is not None:
            row = irregular * len(array) // len(flat)
            is_null = flat.is_null()[irregular].as_py()
            why = "is null" if is_null else "has more or fewer than the first"
            raise ValueError(f"does not hold equally many numbers in each row: row {row} {why}")
        flat = flat.flatten()
    if not is_number(flat.type):
        raise ValueError(f"holds {column.type}, no numbers")
    if flat.null_count and not pa.types.is_floating(flat.type):
        raise ValueError("holds null in place of a number")
    values = flat.to_numpy(zero_copy_only=False)
    if flat is array:
        return values
    return values.reshape(len(array), -1 if len(array) else 0)


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is an integer, a float or a boolean."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    )


def _first_irregular(array: pa.Array) -> int | None:
    """The index of the first list that is null, or else of another length than the first one."""
    null, size = array.is_null().to_numpy(zero_copy_only=False), np.zeros(len(array))
    if not pa.types.is_fixed_size_list(array.type):
        size = np.diff(array.offsets.to_numpy())
    odd = np.flatnonzero(null if null.any() else size != size[:1])
    return int(odd[0]) if len(odd) else None
