"""Rows of Arrow's columns: as they are, or refused; never moved by others that are longer, shorter
or null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from manyparts.data.formats.arrow_numbers import to_numpy

FLOATS, THREE = pa.list_(pa.float32()), pa.list_(pa.float32(), 3)
ROWS = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]


@pytest.mark.parametrize(
    "kind", [FLOATS, pa.large_list(pa.float32()), THREE, pa.list_(pa.int16())], ids=str
)
@pytest.mark.parametrize("chunked", [False, True])
def test_rows_of_equal_length_form_matrix(kind: pa.DataType, chunked: bool) -> None:
    array = pa.array([[int(each) for each in row] for row in ROWS], kind)
    column = pa.chunked_array([array[:1], array[1:]]) if chunked else array
    assert to_numpy(column).tolist() == ROWS
    assert to_numpy(column.slice(1, 2)).tolist() == ROWS[1:3]
    assert to_numpy(column.slice(0, 0)).shape == (0, 0)


def test_nested_lists_flattened_numbers_form_vector() -> None:
    deep = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int64())))
    assert to_numpy(deep).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert to_numpy(pa.array([True, False])).tolist() == [True, False]
    assert to_numpy(pa.array([[], []], FLOATS)).shape == (2, 0)
    assert np.isnan(to_numpy(pa.array([1.0, None]))).tolist() == [False, True]
    assert np.isnan(to_numpy(pa.array([[1.0, None]], FLOATS))).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("rows", "kind", "why"),
    [
        ([[0, 1], [2, 3, 4, 5], [6, 7, 8]], FLOATS, "row 1 has more or fewer than the first"),
        ([[0, 1, 2], None, [3, 4, 5]], FLOATS, "equally many"),
        ([[0, 1, 2], None, [3, 4, 5]], THREE, "row 1 is null"),
        ([[0, 1], None, [3, 4, 5, 6]], pa.large_list(pa.float32()), "equally many"),
        ([None, None], FLOATS, "equally many"),
        ([[[1, 2], [3, 4]], [[4, 5], [6]]], pa.list_(FLOATS), "row 1 has more or fewer"),
        ([[[1, 2], None], [[4, 5], [6, 7]]], pa.list_(FLOATS), "equally many"),
        ([[1, None], [2, 3]], pa.list_(pa.int64()), "holds null"),
        ([True, None], pa.bool_(), "holds null"),
        (["1", "2"], pa.string(), "holds string, no numbers"),
        ([["1"], ["2"]], pa.list_(pa.string()), "holds list.*no numbers"),
        ([None, None], pa.null(), "holds null, no numbers"),
    ],
)
def test_other_rows_are_refused(rows: list[Any], kind: pa.DataType, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        to_numpy(pa.array(rows, kind))
