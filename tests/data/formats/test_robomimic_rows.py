"""How many rows robomimic's demonstrations have, and what the file says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats.small_hdf5 import LENGTHS, encoded, padded, put, robomimic

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]


def longer(demo: Any, more: int = 1) -> None:
    """All observations have more rows than actions."""
    count = len(demo["actions"]) + more
    put(demo, "obs/hand", np.arange(count)[:, None] + np.zeros((1, 3)))
    put(
        demo,
        "obs/top",
        padded([encoded(np.full((16, 24, 3), 10 * step, np.uint8)) for step in range(count)]),
    )


def test_row_after_last_action_is_ignored(tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(
        robomimic(tmp_path / "set.hdf5", lambda _, demo: longer(demo), {"language": "lift it"})
    )
    assert np.diff(dataset.starts).tolist() == list(LENGTHS)
    np.testing.assert_array_equal(dataset.episode(1).state[:, 0], range(5))
    assert np.abs(dataset.episode(1).images["top"][4].astype(int) - 40).max() < 6
    assert (
        dataset.reader.contents.notes[0]
        == "top, hand have one row more than actions; the last one is not read"
    )


@pytest.mark.parametrize(
    ("others", "words"),
    [(1, "; they have 16 x 24 per step and one row more"), (0, " for 5 actions; they")],
)
def test_one_extra_row_is_left_out(others: int, words: str, tmp_path: Path) -> None:
    path = robomimic(
        tmp_path / "set.hdf5",
        lambda number, demo: longer(demo, others if number != 1 else 1 - others),
    )
    (finding,) = [each for each in check(path) if each.severity == "error"]
    assert finding.where == "episode demo_1" and words in finding.what


def test_counts_differing_from_rows_are_noted(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "set.hdf5", data={"language": "lift it", "total": sum(LENGTHS)})
    with h5py.File(path, "a") as file:
        file["data/demo_0"].attrs["num_samples"] = 6
    assert not EpisodeDataset.open(path).reader.contents.notes
    with h5py.File(path, "a") as file:
        file["data/demo_2"].attrs["num_samples"] = 50
        file.move("data/demo_1", "data/demo_30")
        file.move("data/demo_0", "data/demo_4")
        file["data"].attrs["total"] = 20
    assert EpisodeDataset.open(path).reader.contents.notes == (
        "missing demonstrations: demo_0 to demo_1, demo_3, demo_5 to demo_29; "
        "the others keep their names",
        "num_samples is not the number of rows: demo_2 (50, not 4); the rows are followed",
        "data counts 20 steps (its attribute total), the demonstrations have 15",
    )


def test_demonstrations_may_count_from_one(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "set.hdf5", data={"language": "lift it"})
    with h5py.File(path, "a") as file:
        file.move("data/demo_0", "data/demo_3")
    assert not EpisodeDataset.open(path).reader.contents.notes
