"""Datasets that agree become one; those that do not are refused with what differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import (
    CAMERA,
    EPISODES,
    INFO,
    change_json,
    change_table,
    feature,
    write_filmed,
    write_v3,
)
from data.synthetic import FPS, TASKS, make_episode, make_spec, write
from data.tools.editing.lerobot_rules import assert_statistics_of_rows, read_as_lerobot, table_of
from data.tools.editing.sets import TEXTS, rich, snapshot

from manyparts.core.errors import UserError
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.tools.convert import convert
from manyparts.data.tools.editing.commands import merge


def test_episodes_follow_each_other(tmp_path: Path) -> None:
    """Three datasets: tasks by their texts, subtasks by theirs, statistics of all rows."""
    one, two = rich(tmp_path / "one"), rich(tmp_path / "two")
    subtasks = {"subtask_index": [0, 1], "subtask": ["lift", "push"]}
    pq.write_table(pa.table(subtasks), two / "meta/subtasks.parquet")
    tasks = {"task_index": [0, 1, 2], "task": [TEXTS[1], TEXTS[0], "wipe"]}
    table = pa.table(tasks).replace_schema_metadata(
        pq.read_schema(one / "meta/tasks.parquet").metadata
    )
    pq.write_table(table, two / "meta/tasks.parquet")
    texts = [["open the drawer"], ["pick up the cube", "wipe"], ["open the drawer"]]
    change_table(two / EPISODES, lambda columns: columns | {"tasks": texts})
    before = snapshot(one), snapshot(two)
    written = merge([one, two], tmp_path / "merged")
    assert (snapshot(one), snapshot(two)) == before
    read = read_as_lerobot(tmp_path / "merged")
    assert (written.episodes, written.tasks, len(read)) == (6, 4, 6)
    assert [each.listed for each in read[3:]] == texts
    for own, each in zip(read_as_lerobot(two), read[3:], strict=True):
        assert each.tasks == own.tasks
        np.testing.assert_array_equal(each.frames[CAMERA], own.frames[CAMERA])
    merged_subtasks = pq.read_table(tmp_path / "merged/meta/subtasks.parquet")
    assert merged_subtasks["subtask"].to_pylist() == ["reach", "lift", "push"]
    former = [-1, 0, 1, -1, 0, 1]
    assert read[0].columns["subtask_index"] == former
    assert read[3].columns["subtask_index"] == [{-1: -1, 0: 1, 1: 2}[each] for each in former]
    assert_statistics_of_rows(tmp_path / "merged")
    names = pq.read_table(tmp_path / "merged/meta/tasks.parquet")["task_name"].to_pylist()
    assert names == ["PickCube", "OpenDrawer", "CloseIt", None]


def test_files_that_differ_are_left_out(tmp_path: Path) -> None:
    one, two = rich(tmp_path / "one"), rich(tmp_path / "two")
    (two / "LICENSE").write_text("all rights reserved")
    written = merge([one, two], tmp_path / "merged")
    assert not (tmp_path / "merged/LICENSE").exists()
    assert (tmp_path / "merged/meta/calibration.json").read_text() == '{"focal": 600}'
    notes = " ".join(written.notes)
    assert "files in which the datasets differ are left out: LICENSE" in notes
    assert "the splits of info.json were joined to one: train" in notes
    assert json.loads((tmp_path / "merged" / INFO).read_text())["splits"] == {"train": "0:6"}


def test_details_of_videos_may_differ(tmp_path: Path) -> None:
    """Each video stays a file of its own, so that codecs may differ; what is not common is said."""
    details = {"video.codec": "h264", "video.fps": 10}
    one = write_filmed(tmp_path / "one", info=details, fps=10)
    two = write_filmed(tmp_path / "two", info=details | {"video.codec": "hevc"}, codec="libx265")
    written = merge([one, two], tmp_path / "merged")
    note, double = written.notes
    assert "two is a copy of" in double  # in its numbers
    assert f"left out of info.json: {CAMERA} video.codec, {CAMERA} fps" in note or "fps" in note
    described = json.loads((tmp_path / "merged" / INFO).read_text())["features"][CAMERA]
    assert described["info"] == {"video.fps": 10} and "fps" not in described
    merged = EpisodeDataset.open(tmp_path / "merged")
    for index in range(6):
        source = EpisodeDataset.open((one, two)[index // 3])
        frames = merged.frames(index, "top")
        np.testing.assert_array_equal(frames, source.frames(index % 3, "top"))
    read_as_lerobot(tmp_path / "merged")


def test_names_may_be_written_in_two_ways(tmp_path: Path) -> None:
    """Older programs write {"motors": [...]} for [...]."""
    names = ["x", "y"]
    folders = []
    for folder, written in (("a", names), ("b", {"motors": names})):
        described = feature("float32", 2) | {"names": written}
        folders.append(write_v3(tmp_path / folder, features={"action": described}))
    merge(folders, tmp_path / "merged")
    assert len(read_as_lerobot(tmp_path / "merged")) == 6


def changed(**changes: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        change_json(write_v3(folder) / INFO, **changes)
        return folder

    return make


def described(name: str, **changes: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        features = json.loads((write_v3(folder) / INFO).read_text())["features"]
        features[name] = features[name] | changes
        change_json(folder / INFO, features=features)
        return folder

    return make


DIFFERENT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "rate": (changed(fps=20), "fps: 10, 20"),
    "robot": (changed(robot_type="leg"), "robot_type: arm, leg, .*name it with --embodiment NAME"),
    "feature": (
        lambda folder: write_v3(
            folder, features={"extra": feature("int64", 1)}, columns={"extra": lambda e, t: t}
        ),
        "only .*two has extra",
    ),
    "dtype": (described("action", dtype="float64"), "action is float32, float64"),
    "names": (
        described("action", names=["x", "y"]),
        "number 0 of action is without a name, 'x'",
    ),
    "shape": (
        lambda folder: write_v3(
            folder, action="action", features={"action": feature("float32", 3)}
        ),
        r"action has the shape \[2\], \[3\]",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_different_datasets_are_refused(case: str, tmp_path: Path) -> None:
    make, message = DIFFERENT[case]
    one, two = write_v3(tmp_path / "one"), make(tmp_path / "two")
    with pytest.raises(UserError, match=f"one and .*two cannot be merged: {message}") as refused:
        merge([one, two], tmp_path / "merged")
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_image_and_video_are_refused(tmp_path: Path) -> None:
    one = write_filmed(tmp_path / "one")
    two = write_v3(tmp_path / "two", features={CAMERA: feature("image", 64, 64, 3)})
    with pytest.raises(UserError, match=f"{CAMERA} is video, image"):
        merge([one, two], tmp_path / "merged")


def test_depth_and_colour_are_refused(tmp_path: Path) -> None:
    one = write_filmed(tmp_path / "one", info={"video.is_depth_map": False})
    two = write_filmed(tmp_path / "two", info={"video.is_depth_map": True})
    with pytest.raises(UserError, match=f"{CAMERA} is depth in one of them only"):
        merge([one, two], tmp_path / "merged")


def test_one_robot_of_two_names(tmp_path: Path) -> None:
    one, two = write_v3(tmp_path / "one"), changed(robot_type="arm_v2")(tmp_path / "two")
    merge([one, two], tmp_path / "merged", embodiment="the arm")
    assert EpisodeDataset.open(tmp_path / "merged").spec.embodiment == "the arm"


def test_a_copy_is_said(tmp_path: Path) -> None:
    one = write_v3(tmp_path / "one")
    shutil.copytree(one, tmp_path / "copy")
    (note,) = merge([one, tmp_path / "copy"], tmp_path / "merged").notes
    assert "copy is a copy of" in note and note.endswith("episodes are there twice")


def test_list_of_datasets_is_checked(tmp_path: Path) -> None:
    one = write_v3(tmp_path / "one")
    (tmp_path / "link").symlink_to(one)
    for datasets, message in (
        ([one], "1 dataset to merge; expected two at least"),
        ([one, one], "is given twice; its episodes would be there twice"),
        ([one, tmp_path / "link"], "link is given twice"),
        ([one, tmp_path / "nowhere"], "no dataset at"),
    ):
        with pytest.raises(UserError, match=message):
            merge(datasets, tmp_path / "merged")
    with pytest.raises(UserError, match="embodiment is ' '; expected the robot's name"):
        merge([one, one], tmp_path / "merged", embodiment=" ")
    assert not (tmp_path / "merged").exists()


def own(folder: Path, **changes: Any) -> Path:
    options = {"tasks": TASKS, "environment": {"image_size": 16}, "spec": make_spec()} | changes
    with DatasetWriter(folder, options.pop("spec"), fps=FPS, **options) as writer:
        task = options["tasks"][0]
        episode = make_episode(0, 4)
        writer.add(replace(episode, task=task.name, instruction=task.instruction))
    return folder


def test_own_datasets_must_agree_in_more(tmp_path: Path) -> None:
    one, action = own(tmp_path / "one"), make_spec().action
    wider = replace(make_spec(), action=replace(action, high=(1.0, 3.0)))
    other_task = replace(TASKS[0], instruction="reach the blue ball")
    for name, options, message in (
        ("environment", {"environment": {"image_size": 32}}, "environment.image_size: 16, 32"),
        ("bounds", {"spec": wider}, "action.high of y: 2.0, 3.0"),
        ("task", {"tasks": (other_task,)}, "the instructions of toy/reach, which `manyparts data"),
    ):
        with pytest.raises(UserError, match=message):
            merge([one, own(tmp_path / name, **options)], tmp_path / "merged")
    foreign = write_v3(tmp_path / "foreign")
    with pytest.raises(UserError, match=r"one was written by manyparts, .*`manyparts train --data"):
        merge([one, foreign], tmp_path / "merged")


def test_measured_bounds_reach_over_all_rows(tmp_path: Path) -> None:
    for name, lengths in (("a", (3,)), ("b", (9,))):
        convert(write_v3(tmp_path / f"{name}-foreign", lengths), tmp_path / name)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert EpisodeDataset.open(tmp_path / "merged").spec.action.high == (8.5, 8.5)


def test_columns_of_one_dataset_are_kept(tmp_path: Path) -> None:
    one, two = write_v3(tmp_path / "one"), write_v3(tmp_path / "two")
    change_table(one / EPISODES, lambda columns: columns | {"operator": ["ann", "bob", "cyd"]})
    change_table(two / EPISODES, lambda columns: columns | {"stats/action/count": [[6.0]] * 3})
    change_table(one / EPISODES, lambda columns: columns | {"stats/action/count": [[6]] * 3})
    merge([one, two], tmp_path / "merged")
    rows = table_of(tmp_path / "merged/meta/episodes")
    assert rows["operator"].to_pylist() == ["ann", "bob", "cyd", None, None, None]
    assert rows["stats/action/count"].to_pylist() == [[6]] * 6


def test_written_by_both_ways_is_equal(tmp_path: Path) -> None:
    """Merged statistics are those that the writer computes of all episodes at once."""
    episodes = [make_episode(seed, 5) for seed in range(6)]
    sets = [write(tmp_path / f"{n}", episodes[3 * n : 3 * n + 3]) for n in range(2)]
    merge([each.path for each in sets], tmp_path / "merged")
    together = write(tmp_path / "together", episodes)
    merged = EpisodeDataset.open(tmp_path / "merged")
    for name, wanted in together.statistics.features.items():
        got = merged.statistics[name]
        for key in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(
                getattr(got, key), getattr(wanted, key), rtol=1e-9, atol=1e-12
            )
        step = 0.02 if name.startswith("observation.images") else 1e-9
        for key in ("q01", "q10", "q50", "q90", "q99"):
            np.testing.assert_allclose(getattr(got, key), getattr(wanted, key), atol=step)
