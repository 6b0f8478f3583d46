"""Parse numbers and rows of metadata files: 3, 3.0 and "3" are the same integer, 0.5 is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manyparts.core.errors import UserError
from manyparts.data.formats.arrow_numbers import to_numpy
from manyparts.data.formats.errors import one_line

_EXACT = 2**53  # integers up to here are exact in a double


def whole_numbers(values: Sequence[Any] | np.ndarray, what: str) -> np.ndarray:
    """Convert numbers to integers.

    Args:
        values: n numbers, or texts of them.
        what: where they are from, for the error.

    Returns:
        int64 (n,).

    Raises:
        UserError: beginning with `what`, for a value that is no whole number.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    for value in array.ravel().tolist():
        if not _is_whole(value):
            raise UserError(f"{what} holds {value!r}; expected whole numbers")
    return array.astype(np.float64).astype(np.int64)


def whole_column(table: pa.Table, name: str, what: str) -> np.ndarray:
    """Read a column of whole numbers, alone or in lists of one.

    Args:
        table: n rows.
        name: the column's name.
        what: where it is from, for the error.

    Returns:
        int64 (n,).

    Raises:
        UserError: beginning with `what`, for anything else.
    """
    try:
        values = to_numpy(table[name])
    except ValueError as error:
        raise UserError(f"{what} {error}") from error
    if values.size != len(values):
        raise UserError(f"{what} holds {values.shape[1]} numbers per row; expected one")
    return whole_numbers(values.reshape(-1), what)


def whole_number(values: Mapping[str, Any], name: str, where: Path) -> int:
    """One entry of a JSON object, as an integer.

    Args:
        values: the JSON object.
        name: the entry's name.
        where: the file that it is from, for the error.

    Raises:
        UserError: it is missing or no whole number.
    """
    return int(whole_numbers([_entry(values, name, where)], f"{where}: {name}")[0])


def rate(values: Mapping[str, Any], name: str, where: Path) -> float:
    """One entry of a JSON object, as a positive number; it may be text.

    Args:
        values: the JSON object.
        name: the entry's name.
        where: the file that it is from, for the error.

    Raises:
        UserError: it is missing or no positive number.
    """
    value = _entry(values, name, where)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 < number < _EXACT:
        raise UserError(f"{where}: {name} is {value!r}; expected a positive number")
    return number


class Columns:
    """The columns of meta/episodes by name."""

    def __init__(self, table: pa.Table, where: Path) -> None:
        self._table, self._where = table, where

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return self._table.column_names

    def __contains__(self, name: str) -> bool:
        return name in self._table.column_names

    def __getitem__(self, name: str) -> list[Any]:
        """A column's values. Raises UserError if there is no such column."""
        if name not in self:
            raise UserError(f"{self._where} has no column {name}")
        return self._table[name].to_pylist()

    def integers(self, name: str) -> np.ndarray:
        """A column as int64 (n,). Raises UserError naming it for a value that is no integer."""
        return whole_numbers(self[name], f"{self._where}: {name}")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object per line. Raises UserError naming the file and the line that is
    torn."""
    try:
        return list(_json_lines(path))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; a LeRobotDataset v2 folder has it") from error


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{path}, line {number}, is not readable JSON: {one_line(error)}"
                ) from error
            if not isinstance(values, dict):
                raise UserError(f"{path}, line {number}, is not a JSON object")
            yield values


def _entry(values: Mapping[str, Any], name: str, where: Path) -> Any:
    if name not in values:
        raise UserError(f"{where} lacks {name!r}")
    return values[name]


def _is_whole(value: Any) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return abs(number) < _EXACT and number.is_integer()
