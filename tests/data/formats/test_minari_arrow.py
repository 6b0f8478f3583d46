"""Minari's Arrow and Parquet storage: rows are read as they are, or their episode is left out with
the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data.formats.small_hdf5 import LENGTHS, box, leaves_out_the_second, minari_arrow

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")
UNEQUAL = "does not hold equally many numbers in each row"


def lists(
    values: np.ndarray, others: dict[int, int | None], kind: pa.DataType | None = None
) -> pa.Array:
    """Rows of values (T, d). others: rows that have so many numbers, or are null."""
    rows: list[Any] = values.tolist()
    for row, count in others.items():
        rows[row] = None if count is None else [7.0] * count
    return pa.array(rows, kind or pa.list_(pa.float32()))


BAD_COLUMNS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "empty": (
        lambda parts: parts.update(hand=parts["hand"][:1], actions=parts["actions"][:1]),
        "has no steps",
    ),
    "missing": (lambda parts: parts.pop("hand"), "has no observations/hand"),
    "not finite": (lambda parts: parts.update(hand=parts["hand"] * np.nan), "holds NaN"),
    "wider": (
        lambda parts: parts.update(hand=np.ones((6, 4), np.float32)),
        "4 per step; its space has 3",
    ),
    "ragged": (
        lambda parts: parts.update(hand=lists(parts["hand"], {1: 2, 2: 4})),
        f"1: observations/hand {UNEQUAL}: row 1",
    ),
    "null": (
        lambda parts: parts.update(actions=lists(parts["actions"], {1: None})),
        f"actions {UNEQUAL}: row 1 is null",
    ),
    "null and long": (
        lambda parts: parts.update(actions=lists(parts["actions"], {1: None, 2: 4})),
        UNEQUAL,
    ),
    "null of 3": (
        lambda parts: parts.update(hand=lists(parts["hand"], {2: None}, pa.list_(pa.float32(), 3))),
        UNEQUAL,
    ),
    "null number": (lambda parts: parts["actions"].__setitem__(0, np.nan), "action holds NaN"),
    "null observation": (
        lambda parts: parts.update({"null rows": pa.array(np.arange(6) == 2)}),
        UNEQUAL,
    ),
    "null flag": (
        lambda parts: parts.update(more={"terminations": pa.array([None, *[False] * 5])}),
        "holds null",
    ),
    "texts": (
        lambda parts: parts.update(more={"actions": pa.array(["x"] * 6)}),
        "1: actions holds string, no numbers",
    ),
}


@pytest.mark.parametrize("how", [*BAD_COLUMNS, "torn"])
@pytest.mark.parametrize("storage", ["arrow", "parquet"])
def test_one_bad_folder_is_left_out(storage: str, how: str, tmp_path: Path) -> None:
    spoil, why = BAD_COLUMNS.get(how, (lambda _: None, f"cannot be read as {storage}"))
    path = minari_arrow(
        tmp_path / "set", storage, lambda number, parts: spoil(parts) if number == 1 else None
    )
    if how == "torn":
        (file,) = (path / "data/1").glob("part*")
        file.write_bytes(file.read_bytes()[:200])
    leaves_out_the_second(path, why, tmp_path / "copy")


@pytest.mark.parametrize("storage", ["arrow", "parquet"])
@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 3)]
)
def test_rows_in_any_list_type(kind: pa.DataType, storage: str, tmp_path: Path) -> None:
    wanted = []

    def change(_: int, parts: dict[str, Any]) -> None:
        wanted.append(parts["hand"][:-1])
        parts["hand"] = lists(parts["hand"], {}, kind)

    path = minari_arrow(tmp_path / "set", storage, change)
    for episode, rows in zip(EpisodeDataset.open(path), wanted, strict=True):
        np.testing.assert_array_equal(episode.state, rows)
    assert not [finding for finding in check(path) if finding.severity == "error"]


def test_null_success_is_unknown(tmp_path: Path) -> None:
    """An episode is not lost for it, and has not failed either."""

    def change(number: int, parts: dict[str, Any]) -> None:
        solved = pa.array([None if number == 1 else False, *[True] * LENGTHS[number]])
        parts["more"] = {"infos": pa.StructArray.from_arrays([solved], ["success"])}

    dataset = EpisodeDataset.open(minari_arrow(tmp_path / "set", "parquet", change))
    assert dataset.num_episodes == 3 and dataset.reader.contents.succeeded is None
    assert dataset.episode(0).success.all() and "next.success" not in dataset.columns(1)


@pytest.mark.parametrize("other", [30, None])
def test_raw_image_of_other_size_refused(other: int | None, tmp_path: Path) -> None:
    space = {
        "type": "Dict",
        "subspaces": {"hand": box(3), "front": box(40, 40, dtype="uint8", low=0, high=255)},
    }

    def change(number: int, parts: dict[str, Any]) -> None:
        images = [np.full(1600, 10 * step, np.uint8) for step in range(LENGTHS[number] + 1)]
        rows: list[Any] = [each.tolist() for each in images]
        if number == 1:
            rows[2] = other and [0] * other
        columns = [pa.array(rows, pa.list_(pa.uint8())), lists(parts["hand"], {})]
        parts["more"] = {"observations": pa.StructArray.from_arrays(columns, ["front", "hand"])}

    path = minari_arrow(tmp_path / "set", "parquet", change)
    metadata = json.loads((path / "data/metadata.json").read_text())
    (path / "data/metadata.json").write_text(
        json.dumps(metadata | {"observation_space": json.dumps(space)})
    )
    dataset = EpisodeDataset.open(path)
    assert dataset.frames(0, "front")[3].max() == 30
    with pytest.raises(UserError, match=f"data/1: observations/front {UNEQUAL}"):
        dataset.frames(1, "front")
    (finding,) = [each for each in check(path) if each.severity == "error"]
    assert "episode 1" in finding.where and repair(path, tmp_path / "copy") == ["1"]
