"""What is deleted is gone, and all else is as it was: rows, columns, frames, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import (
    CAMERA,
    DATA,
    EPISODES,
    INFO,
    SIZE,
    VIDEO,
    change_json,
    change_table,
    feature,
    image,
    stored,
    write_filmed,
    write_v3,
    write_v21,
)
from data.synthetic import FPS, assert_equal, make_episode, make_spec, write
from data.tools.editing.lerobot_rules import (
    assert_same,
    assert_statistics_of_rows,
    read_as_lerobot,
    table_of,
)
from data.tools.editing.sets import STILL, TEXTS, rich, snapshot

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset, append
from manyparts.data.tools.check import check
from manyparts.data.tools.editing.commands import Destination, delete

STATISTICS = "meta/stats.json"


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def test_other_episodes_stay_as_they_are(tmp_path: Path) -> None:
    source = rich(tmp_path / "source")
    before = snapshot(source)
    written = delete(source, Destination(tmp_path / "copy"), episodes=["1"])
    assert (written.episodes, written.frames, written.tasks) == (2, 10, 1)
    assert snapshot(source) == before
    first, _, third = read_as_lerobot(source)
    assert_same(read_as_lerobot(written.path), [first, third])
    assert_statistics_of_rows(written.path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "source"]


def test_description_follows_the_episodes(tmp_path: Path) -> None:
    source = rich(tmp_path / "source", total_videos=3)
    delete(source, Destination(tmp_path / "copy"), episodes=["0"])
    info, former = read_json(tmp_path / "copy" / INFO), read_json(source / INFO)
    counts = {"total_episodes": 2, "total_frames": 9, "total_tasks": 3, "total_videos": 2}
    assert info == former | counts | {"splits": {"train": "0:1", "test": "1:2"}}
    tasks = pq.read_table(tmp_path / "copy/meta/tasks.parquet").to_pylist()
    assert [task["task"] for task in tasks] == list(TEXTS)
    assert [task["task_name"] for task in tasks] == ["PickCube", "OpenDrawer", "CloseIt"]
    index = table_of(tmp_path / "copy/meta/episodes")["stats/index/max"].to_pylist()
    assert index == [[4.0], [8.0]]
    card = (tmp_path / "copy/README.md").read_text()
    assert card.startswith("---\nlicense: mit") and json.dumps(info, indent=4) in card


def test_tasks_without_episodes_are_left_out(tmp_path: Path) -> None:
    source = rich(tmp_path / "source")
    delete(source, Destination(tmp_path / "copy"), tasks=[TEXTS[0]])
    (only,) = read_as_lerobot(tmp_path / "copy")
    assert only.tasks == [TEXTS[1]] * 2 + [TEXTS[2]] * 3 and only.listed == list(TEXTS[1:])
    tasks = pq.read_table(tmp_path / "copy/meta/tasks.parquet").to_pylist()
    assert [task["task_name"] for task in tasks] == ["OpenDrawer", "CloseIt"]
    assert read_json(tmp_path / "copy" / INFO)["splits"] == {"train": "0:1"}


def test_files_of_others_are_copied(tmp_path: Path) -> None:
    source = rich(tmp_path / "source")
    stray = source / "videos" / CAMERA / "chunk-000/file-007.mp4"
    stray.write_bytes(b"of no episode")
    written = delete(source, Destination(tmp_path / "copy"), episodes=["2"])
    files, former = snapshot(tmp_path / "copy"), snapshot(source)
    for name in ("LICENSE", "meta/calibration.json", "meta/subtasks.parquet"):
        assert files[name] == former[name]
    assert ".cache/download" not in files
    assert sum(name.startswith("videos") for name in files) == 1
    notes = " ".join(written.notes)
    assert f"belong to no episode are left out: videos/{CAMERA}/chunk-000/file-007.mp4" in notes
    assert "describes the dataset before, as it was copied: meta/calibration.json" in notes


def test_own_dataset_can_be_added_to(tmp_path: Path) -> None:
    episodes = [make_episode(seed, 5) for seed in range(4)]
    source = write(tmp_path / "source", episodes, images="video")
    delete(source.path, Destination(tmp_path / "copy"), episodes=["1"])
    kept, new = EpisodeDataset.open(tmp_path / "copy"), make_episode(9, 6)
    assert "3 episodes, 15 frames" in (tmp_path / "copy/README.md").read_text()
    with append(
        kept.path, make_spec(), fps=FPS, tasks=kept.tasks, environment=kept.environment
    ) as writer:
        writer.add(new)
    grown = EpisodeDataset.open(kept.path)
    for index, number in enumerate((0, 2, 3)):
        assert_equal(grown.episode(index), source.episode(number))
    np.testing.assert_array_equal(grown.episode(3).state, new.state)
    read_as_lerobot(kept.path)


def test_measured_bounds_are_those_of_what_is_left(tmp_path: Path) -> None:
    from manyparts.data.tools.convert import convert

    convert(write_v3(tmp_path / "foreign"), tmp_path / "source")
    delete(tmp_path / "source", Destination(tmp_path / "copy"), episodes=["2"])
    action = EpisodeDataset.open(tmp_path / "copy").spec.action
    assert action.measured and action.high == (104.5, 104.5)


def test_unreadable_episode_can_be_deleted(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", files=(0, 1, 2))
    (source / DATA.format(1)).write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match=r"cannot be read: 1 .*data delete .* --episodes 1`"):
        delete(source, Destination(tmp_path / "copy"), episodes=["2"])
    delete(source, Destination(tmp_path / "copy"), episodes=["1"])
    first, second = read_as_lerobot(tmp_path / "copy")
    assert first.columns["observation.state"][0] == [0.0] * 3
    assert second.columns["observation.state"][0] == [200.0] * 3
    assert check(tmp_path / "copy") == []


def test_gaps_and_stale_places_are_mended(tmp_path: Path) -> None:
    """Episodes 0, 2 and 5, in files in another order than metadata says."""
    source = write_v3(tmp_path / "source", files=(1, 0, 2))
    numbers = {0: 0, 1: 2, 2: 5}
    for number in range(3):
        change_table(
            source / DATA.format(number),
            lambda columns: (
                columns | {"episode_index": [numbers[e] for e in columns["episode_index"]]}
            ),
        )
    change_table(source / EPISODES, lambda columns: columns | {"episode_index": [0, 2, 5]})
    with pytest.raises(UserError, match=r"no episode 3; it has 0 to 5, with gaps; .* 0, 2, 5$"):
        delete(source, Destination(tmp_path / "copy"), episodes=["3"])
    written = delete(source, Destination(tmp_path / "copy"), episodes=["2"])
    first, last = read_as_lerobot(written.path)
    assert [each.columns["observation.state"][0][0] for each in (first, last)] == [0.0, 200.0]
    assert any("the last one, 5, is 1 now" in note for note in written.notes)


def test_images_named_by_path_are_embedded(tmp_path: Path) -> None:
    named = {CAMERA: lambda e, t: f"images/{e}-{t}.png"}
    described = {CAMERA: feature("image", 12, 12, 3)}
    source = write_v3(tmp_path / "source", features=described, columns=named)
    (source / "images").mkdir()
    for episode, length in enumerate((6, 5, 4)):
        for row in range(length):
            content = stored(episode, row)["bytes"]
            (source / "images" / f"{episode}-{row}.png").write_bytes(content)
    delete(source, Destination(tmp_path / "copy"), episodes=["0"])
    assert not (tmp_path / "copy/images").exists()
    shown = EpisodeDataset.open(tmp_path / "copy").frames(0, "top")
    np.testing.assert_array_equal(shown, np.stack([image(1, row, 12) for row in range(5)]))
    (source / "images/2-1.png").unlink()
    with pytest.raises(UserError, match=f"episode 2, frame 1: no image {CAMERA}: .*2-1.png"):
        delete(source, Destination(tmp_path / "other"), episodes=["0"])
    assert not (tmp_path / "other").exists()


def test_statistics_of_images_without_those_of_episodes(tmp_path: Path) -> None:
    """stats.json has them, meta/episodes has not: they come from the images that are left."""
    source = rich(tmp_path / "source")
    change_table(
        source / EPISODES,
        lambda columns: {
            name: values for name, values in columns.items() if not name.startswith("stats/")
        },
    )
    delete(source, Destination(tmp_path / "copy"), episodes=["0", "1"])
    wanted = np.mean([image(2, row, 12)[0, 0, 0] / 255 for row in range(4)])
    computed = read_json(tmp_path / "copy" / STATISTICS)
    np.testing.assert_allclose(np.ravel(computed[STILL]["mean"]), wanted)
    np.testing.assert_allclose(np.ravel(computed[CAMERA]["mean"]), wanted, atol=0.02)


def test_types_of_columns_stay(tmp_path: Path) -> None:
    source = rich(tmp_path / "source")
    delete(source, Destination(tmp_path / "copy"), episodes=["0"])
    for folder in ("data", "meta/episodes"):
        former, now = table_of(source / folder), table_of(tmp_path / "copy" / folder)
        assert now.schema.names == former.schema.names
        for name in former.schema.names:
            if former.schema.field(name).type != pa.null():
                assert now.schema.field(name).type == former.schema.field(name).type, name


def test_long_lists_of_numbers_and_ranges(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", [2] * 12)
    delete(source, Destination(tmp_path / "copy"), episodes=["0-3,5", "7", "9-11"])
    starts = [each.columns["action"][0][0] for each in read_as_lerobot(tmp_path / "copy")]
    assert starts == [400.5, 600.5, 800.5]


def test_what_is_no_dataset_to_edit_is_refused(tmp_path: Path) -> None:
    old = write_v21(tmp_path / "old")
    (tmp_path / "empty").mkdir()
    unplaced = write_v3(tmp_path / "unplaced", features={CAMERA: feature("video", SIZE, SIZE, 3)})
    torn = write_v3(tmp_path / "torn")
    change_json(torn / INFO, total_episodes=9)
    for folder, message in (
        (old, r"is a LeRobotDataset v2.1, and only v3.0 is edited; convert it with LeRobot's own"),
        (tmp_path / "empty", r"is no LeRobotDataset: meta/info.json is missing; `manyparts data"),
        (tmp_path / "nowhere", "no dataset at"),
        (unplaced, "has the videos observation.images.top, and meta/episodes does not say"),
        (torn, "counts 9 episodes, meta/episodes 3"),
        ("s3://bucket/set", "is remote; download it first"),
    ):
        with pytest.raises(UserError, match=message):
            delete(folder, Destination(tmp_path / "copy"), episodes=["0"])
    good = write_v3(tmp_path / "good")
    for options, message in (
        ({}, "what is to be deleted"),
        ({"episodes": ["0-2"]}, "all 3 episodes of .* would be deleted"),
        ({"tasks": ["pick up a cube"]}, "no task 'pick up a cube'; did you mean pick up the cube"),
        ({"episodes": ["-1"]}, "'-1' names no episode"),
        ({"episodes": ["1e3"]}, "'1e3' names no episode"),
    ):
        with pytest.raises(UserError, match=message):
            delete(good, Destination(tmp_path / "copy"), **options)
    assert not (tmp_path / "copy").exists()


def test_name_that_leads_outside_is_refused(tmp_path: Path) -> None:
    """A video feature is named as a path, and videos are in a file without its name."""
    source = write_filmed(tmp_path / "deep" / "source")
    name = "../../../../outside"
    info = read_json(source / INFO)
    info["features"][name] = info["features"].pop(CAMERA)
    change_json(source / INFO, features=info["features"], video_path=VIDEO)
    change_table(
        source / EPISODES,
        lambda columns: {key.replace(CAMERA, name): values for key, values in columns.items()},
    )
    with pytest.raises(UserError, match="names a file outside of itself"):
        delete(source, Destination(tmp_path / "deep" / "copy"), episodes=["1"])
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["source"]
