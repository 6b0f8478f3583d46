"""Minari datasets with actions that are choices, counted from zero or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.small_hdf5 import (
    TEXT,
    box,
    minari,
    put,
)

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]


@pytest.mark.parametrize(
    ("start", "dtype"), [(0, np.int64), (5, np.uint8), (-1, np.int8), (2**40, np.int64)]
)
def test_choices_are_counted_from_zero(start: int, dtype: type, tmp_path: Path) -> None:
    space = {"type": "Discrete", "n": 3, "start": start}
    path = minari(
        tmp_path / "set",
        acted=space,
        actions=lambda length: (start + np.arange(length) % 3).astype(dtype),
    )
    dataset = EpisodeDataset.open(path)
    contract, action = dataset.spec.action, dataset.episode(0).action
    assert action[:, 0].tolist() == [0, 1, 2, 0, 1, 2] and (contract.low, contract.high) == (
        (0.0,),
        (2.0,),
    )
    np.testing.assert_array_equal(contract.executed(action), action)
    convert(path, tmp_path / "copy", format="minari")
    assert not [finding for finding in check(tmp_path / "copy") if finding.check == "action bounds"]
    metadata = json.loads((tmp_path / "copy/data/metadata.json").read_text())
    space, first = (
        json.loads(metadata["action_space"]),
        EpisodeDataset.open(tmp_path / "copy").columns(0)["action"],
    )
    assert space["start"] <= first.min() and first.max() < space["start"] + space["n"]


def test_several_choices_are_counted_from_zero(tmp_path: Path) -> None:
    space = {"type": "MultiDiscrete", "dtype": "int64", "nvec": [3, 4], "start": [5, -2]}
    values = np.array([5, -2]) + np.stack([np.arange(6) % 3, np.arange(6) % 4], axis=1)
    dataset = EpisodeDataset.open(
        minari(tmp_path / "set", acted=space, actions=lambda length: values[:length])
    )
    np.testing.assert_array_equal(dataset.episode(0).action, values - [5, -2])
    assert (dataset.spec.action.low, dataset.spec.action.high) == ((0.0, 0.0), (2.0, 3.0))
    assert any("not rounded" in note for note in dataset.reader.contents.notes)


MISFITS: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "beyond": (
        {"type": "Discrete", "n": 3},
        [0, 1, 3, 2, 0],
        "3 in row 2, which is none of the choices 0 to 2",
    ),
    "before": (
        {"type": "Discrete", "n": 3, "start": 5},
        [5, 6, 7, 4, 5],
        "4 in row 3, which is none of the choices 5",
    ),
    "half": ({"type": "Discrete", "n": 3}, [0, 0.5, 1, 2, 0], "0.5 in row 1"),
    "several": (
        {"type": "MultiDiscrete", "nvec": [2, 3]},
        [[1, 2], [2, 1], [0, 0], [0, 0], [0, 0]],
        "2 in row 1",
    ),
    "yes or no": (
        {"type": "MultiBinary", "n": 2},
        [[1, 0], [1, 1], [0, -1], [0, 0], [0, 0]],
        "-1 in row 2",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_invalid_choices_left_out_never_clipped(name: str, tmp_path: Path) -> None:
    space, wrong, words = MISFITS[name]
    first = np.asarray(space.get("start", 0))
    width = np.shape(wrong)[1:]

    def change(number: int, episode: Any) -> None:
        length = len(episode["rewards"])
        put(
            episode,
            "actions",
            np.array(wrong) if number == 1 else np.full((length, *width), first + number // 2),
        )

    path = minari(tmp_path / "set", acted=space, change=change)
    with pytest.raises(UserError, match=words):
        EpisodeDataset.open(path)
    (finding,) = [finding for finding in check(path) if finding.severity == "error"]
    assert (finding.where, finding.remedy) == (
        "episode 1",
        "--fix leaves the episode out",
    ) and words in finding.what
    assert repair(path, tmp_path / "copy") == ["1"]
    copy = EpisodeDataset.open(tmp_path / "copy")
    assert [np.unique(each.action).tolist() for each in copy] == [[0], [1]]


def test_choices_contradicting_start_are_refused(tmp_path: Path) -> None:
    """Some episodes would seem to fit, with every choice taken for the one before."""
    space = {"type": "Discrete", "n": 3, "start": 1}

    def change(number: int, episode: Any) -> None:
        put(episode, "actions", np.arange(len(episode["rewards"])) % 2 + (number == 2))

    path = minari(tmp_path / "set", acted=space, change=change)
    (finding,) = check(path)
    assert finding.check == "open" and finding.remedy.startswith("write start 0")
    assert "begin at 0, but their space says that they begin at 1" in finding.what
    with pytest.raises(UserError, match="write start 0 into action_space of metadata"):
        EpisodeDataset.open(path)


def test_tuple_choices_are_counted_from_zero(tmp_path: Path) -> None:
    space = {
        "type": "Tuple",
        "subspaces": [{"type": "Discrete", "n": 3, "start": 2}, box(1), {"type": "Text"}],
    }

    def change(_: int, episode: Any) -> None:
        length = len(episode["rewards"])
        del episode["actions"]
        put(episode, "actions/_index_0", 2 + np.arange(length) % 3)
        put(episode, "actions/_index_1", np.full((length, 1), 0.5))
        put(episode, "actions/_index_2", ["go"] * length, dtype=TEXT)

    dataset = EpisodeDataset.open(minari(tmp_path / "set", acted=space, change=change))
    assert dataset.episode(0).action[:3].tolist() == [[0, 0.5], [1, 0.5], [2, 0.5]]
    assert dict(dataset.reader.contents.left_out) == {"actions/_index_2": "text"}
