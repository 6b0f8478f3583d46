"""What nobody needs is left out and named; several tasks, odd metadata and other states are read
and said."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import (
    DATA,
    EPISODES,
    INFO,
    LENGTHS,
    assert_own_rows,
    change_json,
    change_table,
    encoded,
    feature,
    image,
    write_v3,
    write_v21,
)

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

PERSISTENT = {
    "role": "assistant",
    "content": "reach",
    "style": "subtask",
    "timestamp": 0.0,
    "camera": None,
}
EXTRA: dict[str, tuple[dict[str, Any], Callable[[int, int], Any], str]] = {
    "language_persistent": (
        feature("language", 1),
        lambda *_: [PERSISTENT],
        "the text column subtask",
    ),
    "language_events": (
        feature("language", 1),
        lambda _, row: [PERSISTENT] if row == 2 else [],
        "language",
    ),
    "language_instruction": (feature("string", 1), lambda *_: "do it", "text"),
    "subtask_index": (
        feature("int64", 1),
        lambda _, row: row // 3 - 1,
        "subtasks.parquet is missing",
    ),
    "observation.effort": (feature("float32", 3), lambda _, row: [1.0 * row] * 3, "float32"),
    "observation.environment_state": (
        feature("float32", 2),
        lambda _, row: [float("nan")] * 2,
        "float32",
    ),
    "complementary_info.discrete_penalty": (feature("float32", 1), lambda *_: None, "float32"),
    "observation.pose": (feature("float32", 4, 4), lambda *_: np.eye(4).tolist(), "an array"),
    "obs.agentview_image": (
        feature("uint8", 4, 4, 3),
        lambda *_: np.zeros((4, 4, 3), np.uint8).tolist(),
        "an array",
    ),
    "points": (feature("float32", 7), lambda _, row: [0.5] * row, "float32"),
    "of an unknown dtype": (feature("quaternion64", 4), lambda *_: [0.0] * 4, "quaternion64"),
    "without a dtype": ({"shape": [1]}, lambda *_: 0.0, "dtype None"),
}


@pytest.mark.parametrize("name", EXTRA)
def test_unneeded_feature_is_left_out(name: str, tmp_path: Path) -> None:
    described, cell, why = EXTRA[name]
    folder = write_v3(tmp_path / "set", features={name: described}, columns={name: cell})
    with pytest.warns(DatasetWarning, match=f"left out {name}"):
        dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, range(3))
    assert why in dataset.summary()["left_out"][name] and name not in dataset.columns(0)
    assert check(folder) == []
    assert repair(folder, tmp_path / "copy") == [] and check(tmp_path / "copy") == []


def test_malformed_feature_is_left_out(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set", features={"comment": "none"})
    with pytest.warns(DatasetWarning, match="left out comment"):
        assert_own_rows(EpisodeDataset.open(folder), range(3))


def test_undeclared_columns_are_named(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set", columns={"__index_level_0__": lambda _, row: row})
    change_table(folder / EPISODES, lambda columns: {**columns, "subtask_names": [["reach"]] * 3})
    with pytest.warns(DatasetWarning, match="left out"):
        assert set(EpisodeDataset.open(folder).summary()["left_out"]) == {
            "__index_level_0__",
            "meta/episodes subtask_names",
        }


@pytest.mark.parametrize("name", ["next.reward", "next.success", "observation.images.top"])
def test_feature_missing_in_files_left_out(name: str, tmp_path: Path) -> None:
    described = feature("image", 12, 12, 3) if "images" in name else feature("float32", 1)
    folder = write_v3(tmp_path / "set", features={name: described})
    with pytest.warns(DatasetWarning, match=f"left out {name} .not in all data files"):
        dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, range(3))
    assert not dataset.episode(0).reward.any() and check(folder) == []


@pytest.mark.parametrize("name", ["action", "observation.state"])
def test_missing_required_column_is_an_error(name: str, tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    change_table(
        folder / DATA.format(0),
        lambda columns: {key: v for key, v in columns.items() if key != name},
    )
    with pytest.raises(UserError, match=f"has no column {name}"):
        EpisodeDataset.open(folder).episode(0)


@pytest.mark.parametrize(
    ("cell", "words"), [(lambda *_: "a", "no numbers"), (lambda _, t: [0.5] * (t + 1), "equally")]
)
def test_non_numeric_actions_are_refused(cell: Any, words: str, tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set", action="other", features={"action": feature("float32", 2)})
    change_table(
        folder / DATA.format(0),
        lambda columns: {**columns, "action": [cell(0, row) for row in columns["frame_index"]]},
    )
    stats = json.loads((folder / "meta/stats.json").read_text())
    (folder / "meta/stats.json").write_text(json.dumps(stats | {"action": stats["other"]}))
    with (
        pytest.warns(DatasetWarning),
        pytest.raises(UserError, match=f"file-000.parquet: episode 0: action .*{words}"),
    ):
        EpisodeDataset.open(folder).episode(0)


@pytest.mark.parametrize("stored", [True, False])
def test_other_observations_replace_missing_state(stored: bool, tmp_path: Path) -> None:
    more = {"observation.b": feature("float32", 2), "observation.a": feature("float64", 1)}
    cells = {"observation.b": lambda e, t: [e + 0.5, t], "observation.a": lambda e, t: 10.0 * e + t}
    folder = write_v3(tmp_path / "set", state="observation.c", features=more, columns=cells)
    if stored:
        stats = json.loads((folder / "meta/stats.json").read_text())
        part = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.5], "count": [15]}
        double = {key: value * 2 for key, value in part.items()}
        (folder / "meta/stats.json").write_text(
            json.dumps(stats | {"observation.a": part, "observation.b": double})
        )
    with pytest.warns(
        DatasetWarning, match=r"the state is observation.a and observation.b and observation.c"
    ):
        dataset = EpisodeDataset.open(folder)
    np.testing.assert_array_equal(dataset.episode(1).state[2], [12, 1.5, 2, 102, 102, 102])
    assert dataset.spec.state_names == ("a_0", "b_0", "b_1", "c_0", "c_1", "c_2")
    statistics = dataset.statistics["observation.state"]
    assert statistics.min[:3] == ((0, 0, 0) if stored else (0, 0.5, 0)) and statistics.max[3] == 203
    convert(folder, tmp_path / "copy")
    assert EpisodeDataset.open(tmp_path / "copy").spec.state_names == dataset.spec.state_names


def test_short_names_of_state_and_action(tmp_path: Path) -> None:
    """As physical-intelligence/libero has them."""
    folder = write_v3(tmp_path / "set", state="state", action="actions")
    with pytest.warns(DatasetWarning, match="the state is state"):
        dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, range(3))
    assert (
        dataset.spec.action.high == (203.5, 203.5)
        and "the action is actions" in dataset.summary()["notes"]
    )


def without_an_episode(folder: Path) -> None:
    write_v21(folder)
    file = folder / "meta/episodes_stats.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))


def without_statistics(folder: Path) -> None:
    write_v3(folder)
    (folder / "meta/stats.json").write_text("{}")


def with_odd_statistics(folder: Path) -> None:
    write_v3(folder)
    stats = json.loads((folder / "meta/stats.json").read_text())
    stats["action"]["mean"] = [[None]]
    (folder / "meta/stats.json").write_text(
        json.dumps(stats | {"language_events": {"min": "a"}, "points": 3})
    )


@pytest.mark.parametrize("make", [without_an_episode, without_statistics, with_odd_statistics])
def test_statistics_that_lack_rows_are_computed(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "set")
    with pytest.warns(DatasetWarning, match="the statistics were computed from the rows"):
        dataset = EpisodeDataset.open(tmp_path / "set")
    actions = np.concatenate([dataset.columns(index)["action"] for index in range(3)]).astype(
        np.float64
    )
    np.testing.assert_allclose(dataset.statistics["action"].std, actions.std(axis=0))
    assert dataset.statistics["action"].count == sum(LENGTHS)
    assert [finding.check for finding in check(tmp_path / "set")] == ["notes"]


def test_nested_names_and_textual_numbers(tmp_path: Path) -> None:
    folder = write_v21(tmp_path / "set")
    features = json.loads((folder / INFO).read_text())["features"]
    features["observation.state"]["names"] = [["a", "b", "c"]]
    change_json(
        folder / INFO,
        features=features,
        fps="10",
        total_episodes="3",
        total_frames=15.0,
        chunks_size=1000.0,
    )
    dataset = EpisodeDataset.open(folder)
    assert dataset.fps == 10 and dataset.spec.state_dimension == 3
    for name, value, words in (
        ("total_frames", 15.5, r"total_frames holds 15\.5"),
        ("fps", "quick", "fps is 'quick'"),
    ):
        change_json(folder / INFO, **{name: value})
        with pytest.raises(UserError, match=words):
            EpisodeDataset.open(folder)


def test_stale_counter_statistics_are_no_error(tmp_path: Path) -> None:
    """Its delete_episodes keeps the statistics of the old numbers, and skips numbers of files."""
    folder = write_v3(tmp_path / "set", files=[0, 2, 2])
    stats = json.loads((folder / "meta/stats.json").read_text())
    stale = {"min": [7], "max": [70], "mean": [30], "std": [9], "count": [15]}
    (folder / "meta/stats.json").write_text(
        json.dumps(
            stats | dict.fromkeys(("index", "episode_index", "task_index", "frame_index"), stale)
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        assert_own_rows(EpisodeDataset.open(folder), range(3))
    assert check(folder) == []


def test_indices_in_lists_of_one(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    indices = ("episode_index", "frame_index", "task_index", "timestamp")
    change_table(
        folder / DATA.format(0),
        lambda columns: {**columns, **{name: [[x] for x in columns[name]] for name in indices}},
    )
    assert_own_rows(EpisodeDataset.open(folder), range(3))
    assert check(folder) == []


def test_files_where_metadata_leads_are_content(tmp_path: Path) -> None:
    prints = []
    for name, more in (("one", 0.0), ("other", 0.25)):
        folder = write_v3(tmp_path / name, info={"data_path": "rows/file-{file_index:03d}.parquet"})
        (folder / "rows").mkdir()
        (folder / DATA.format(0)).rename(folder / "rows/file-000.parquet")
        change_table(
            folder / "rows/file-000.parquet",
            lambda columns, more=more: {
                **columns,
                "action": [[x + more for x in row] for row in columns["action"]],
            },
        )
        prints.append(EpisodeDataset.open(folder).fingerprint)
    assert len(set(prints)) == 2


@pytest.mark.parametrize(
    "template",
    [
        "data/{chunk_index:0300000000d}/file-{file_index:03d}.parquet",
        "data/{chunk_index:>999999999}.parquet",
        "data/{chunk_index.__class__}.parquet",
        "data/{chunk_index!r:*^999999999}.parquet",
        "data/" + "a" * 10**6,
        "data/{{.parquet",
    ],
)
def test_files_are_named_by_small_formats_alone(tmp_path: Path, template: str) -> None:
    """A format from a stranger may ask for any width, and so for any memory."""
    folder = write_v3(tmp_path / "set", info={"data_path": template})
    with pytest.raises(UserError, match="names files by") as refused:
        EpisodeDataset.open(folder)
    assert len(str(refused.value)) < 1000


def test_rows_that_no_file_of_its_size_can_hold_are_refused(tmp_path: Path) -> None:
    """Ten million equal rows are 130 kB on the disk, and a gigabyte in memory."""
    folder = write_v3(tmp_path / "set")
    same = pa.table({"episode_index": np.zeros(10**7, np.int64)})
    pq.write_table(same, folder / DATA.format(0))
    with pytest.raises(UserError, match="says that it has 10000000 rows in"):
        EpisodeDataset.open(folder)


def test_joined_splits_are_noted(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set", info={"splits": {"train": "0:2", "val": "2:3"}})
    with pytest.warns(
        DatasetWarning, match=r"the splits train \(0:2\), val \(2:3\) are read as one dataset"
    ):
        assert EpisodeDataset.open(folder).num_episodes == 3


@pytest.mark.parametrize(
    ("name", "channels", "why"),
    [
        ("next.observation.images.top", 3, "of the step that follows"),
        ("observation.images.next_top", 3, "of the step that follows"),
        ("observation.images.seg", 1, "numbers of classes or objects"),
        ("observation.images.disparity", 1, "depth"),
        ("observation.images.top", 3, ""),
        ("observation.images.grey", 1, ""),
        ("observation.images.seg", 3, ""),
    ],
)
def test_images_are_cameras_unless_named_otherwise(
    name: str, channels: int, why: str, tmp_path: Path
) -> None:
    features = {name: feature("image", 12, 12, channels), "next.success": feature("bool", 1)}
    columns = {
        name: lambda e, row: {"bytes": encoded(image(e, row, 12), "PNG"), "path": "x"},
        "next.success": lambda _, row: row > 2,
    }
    folder = write_v3(tmp_path / "set", features=features, columns=columns)
    with (
        pytest.warns(DatasetWarning, match=why) if why else warnings.catch_warnings(action="error")
    ):
        dataset = EpisodeDataset.open(folder)
    assert len(dataset.spec.cameras) == (not why) and dataset.reader.contents.left_out.get(
        name, ""
    ).startswith(why)
    assert "next.success" in dataset.columns(0)
    assert_own_rows(dataset, range(3))


def test_leaking_features_are_no_state(tmp_path: Path) -> None:
    more = {
        "observation.action": feature("float32", 2),
        "observation.next_qpos": feature("float32", 3),
        "observation.tokens": feature("int64", 77),
    }
    cells = {
        name: lambda e, t, width=item["shape"][0]: [e + t] * width for name, item in more.items()
    }
    folder = write_v3(tmp_path / "set", state="observation.qpos", features=more, columns=cells)
    with pytest.warns(DatasetWarning, match="the state is observation.qpos"):
        dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, range(3))
    assert dataset.reader.contents.left_out == {
        "observation.action": "an action, by its name",
        "observation.next_qpos": "of the step that follows, by its name",
        "observation.tokens": "77 numbers per step that are codes of text, by their name",
    }
