"""ROS recordings become rows at a clock's messages, by the headers' times; what does not fit is
refused in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.bag_sets import (
    COMMAND,
    JOINTS,
    MAPPING,
    MS,
    NAMES,
    NOTES,
    TOP,
    WRIST,
    Sent,
    changed,
    compressed,
    joint_state,
    jpeg,
    latest,
    opened,
    raw_image,
    times,
    usual,
    with_stamps,
    write_bag,
    write_mapping,
    write_recording,
)
from data.formats.zarr_sets import marked, numbers, read_mark

from manyparts import cli
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.bags.reader import BagReader
from manyparts.data.tools.check import check
from manyparts.data.tools.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")


def rows_with(clock: str, topics: tuple[str, ...]) -> list[int]:
    """The numbers of a clock's messages in episode 0 at which all of these topics have begun."""
    stamps = [stamp for stamp, _ in times(0, clock)]
    return [
        number
        for number, now in enumerate(stamps)
        if all(latest(0, topic, now) >= 0 for topic in topics)
    ]


def assert_rows(dataset: EpisodeDataset, *, by_log: bool = False) -> None:
    """All rows hold the messages that a plain search finds."""
    assert dataset.num_episodes == 3
    for index in range(3):
        episode = dataset.episode(index)
        clock = [logged if by_log else stamp for stamp, logged in times(index, WRIST)]
        assert len(episode.action) == len(clock)
        for row, now in enumerate(clock):
            joints, command, top = (
                latest(index, topic, now, by_log=by_log) for topic in (JOINTS, COMMAND, TOP)
            )
            np.testing.assert_allclose(episode.state[row], numbers(index, joints, 3), atol=1e-4)
            wanted = numbers(index, command, 3) + 0.5
            np.testing.assert_allclose(episode.action[row], wanted, atol=1e-4)
            assert read_mark(episode.images["top"][row]) == (index, top, 0)
            assert read_mark(episode.images["wrist"][row]) == (index, row, 1)


@pytest.mark.parametrize("kind", ["sqlite3", "mcap", "file", "ros1"])
def test_rows_hold_the_latest_messages(kind: str, tmp_path: Path) -> None:
    folder, mapping = write_recording(tmp_path / "set", kind), write_mapping(tmp_path / "map.json")
    convert(folder, tmp_path / "copy", mapping=mapping)
    dataset = EpisodeDataset.open(tmp_path / "copy")
    assert_rows(dataset)
    assert dataset.fps == 10 and dataset.spec.state_names == tuple(f"{n}.position" for n in NAMES)
    assert dataset.tasks[0].instruction == "set"
    by_log = write_mapping(tmp_path / "log.json", log_time=True)
    convert(folder, tmp_path / "by-log", mapping=by_log)
    assert_rows(EpisodeDataset.open(tmp_path / "by-log"), by_log=True)
    assert not [finding for finding in check(tmp_path / "copy") if finding.severity == "error"]


def test_one_bag_is_one_episode(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "set", "sqlite3", episodes=11)
    dataset = opened(folder / "episode_10")
    assert dataset.num_episodes == 1 and int(dataset.episode(0).state[0, 0]) == 1000
    assert opened(folder / "episode_4/episode_4.db3").num_episodes == 1
    names = opened(folder).reader.contents.episode_names
    assert names == tuple(f"episode_{number}" for number in range(11))


def test_topics_are_listed_without_a_mapping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_recording(tmp_path / "set")
    assert cli.main(["data", "convert", str(folder), str(tmp_path / "copy")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "a folder of 3 bags, a ROS recording with" in shown
    assert f"{JOINTS} (sensor_msgs/msg/JointState, 135 messages, 50 Hz)" in shown
    assert f"{NOTES} (std_msgs/msg/String, 3 messages)" in shown and "--mapping FILE.json" in shown
    example = json.loads(shown[shown.index("such as ") + 8 :])
    assert example == {**MAPPING, "instruction": "what the robot does"}
    (tmp_path / "map.json").write_text(json.dumps(example))
    arguments = ["--mapping", str(tmp_path / "map.json"), "--embodiment", "arm"]
    assert cli.main(["data", "convert", str(folder), str(tmp_path / "copy"), *arguments]) == 0
    dataset = EpisodeDataset.open(tmp_path / "copy")
    assert_rows(dataset)
    assert dataset.spec.embodiment == "arm"
    assert dataset.tasks[0].instruction == "what the robot does"


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_recording(tmp_path / "set", episodes=1)
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(UserError, match=r"a ROS recording; pip install .*rosbags.*, and then"):
        EpisodeDataset.open(folder)
    with pytest.raises(UserError, match="a ROS recording needs rosbags: pip install"):
        opened(folder)


def test_times_of_the_log_help_where_headers_hold_none(tmp_path: Path) -> None:
    change = with_stamps(JOINTS, lambda *_: 0)
    dataset = opened(write_recording(tmp_path / "set", change=change))
    assert (
        "/joint_states has headers without a time: it goes by the time of the log"
        in (dataset.summary()["notes"])
    )
    for row, (now, _) in enumerate(times(1, WRIST)):
        joints = latest(1, JOINTS, now, by_log=True)
        np.testing.assert_allclose(dataset.episode(1).state[row], numbers(1, joints, 3), atol=1e-4)
    moved = with_stamps(JOINTS, lambda _, stamp: stamp - 3000 * MS)
    notes = opened(write_recording(tmp_path / "moved", change=moved)).summary()["notes"]
    assert any("/joint_states: its headers and the log are 3 s apart" in note for note in notes)


def test_rows_that_are_not_whole_are_said(tmp_path: Path) -> None:
    late = changed(COMMAND, lambda _, k, each: each if 6 <= k < 9 else None)
    dataset = opened(write_recording(tmp_path / "set", change=late))
    first = next(
        row for row, (now, _) in enumerate(times(0, WRIST)) if now >= times(0, COMMAND)[6][0]
    )
    assert dataset.length(0) == 8 - first
    np.testing.assert_allclose(dataset.episode(0).action[0], numbers(0, 6, 3) + 0.5, atol=1e-4)
    notes = dataset.summary()["notes"]
    assert any("9 messages of the clock before some topic's first one" in note for note in notes)
    (stops,) = [note for note in notes if "stops" in note]
    assert stops.startswith("/arm/command stops: 3 rows with an old message")


def test_messages_out_of_order_are_sorted(tmp_path: Path) -> None:
    """Every second one is logged after its follower."""

    def change(episode: int, number: int, each: Sent) -> Sent:
        return replace(each, logged=each.logged + (25 * MS if number % 2 else 0))

    assert_rows(opened(write_recording(tmp_path / "set", change=changed(JOINTS, change))))


def test_joints_are_taken_by_their_names(tmp_path: Path) -> None:
    """Orders that change, and messages of several nodes about other joints."""

    def change(episode: int, number: int, each: Sent) -> Sent:
        names = NAMES[::-1] if number % 2 else NAMES
        values = numbers(episode, number, 3)
        values = values[::-1] if number % 2 else values
        return replace(each, content=joint_state(each.stamp or 0, values, names))

    assert_rows(opened(write_recording(tmp_path / "turned", change=changed(JOINTS, change))))

    def partial(episode: int, sent: list[Sent]) -> list[Sent]:
        fingers = [
            Sent(JOINTS, stamp, logged + MS, joint_state(stamp + MS, np.zeros(1), ["finger"]))
            for stamp, logged in times(episode, JOINTS)
        ]
        return [*sent, *fingers]

    source = {"topic": JOINTS, "field": "position", "names": ["gripper", "waist"]}
    folder = write_recording(tmp_path / "partial", change=partial)
    dataset = opened(folder, state=[source])
    assert dataset.spec.state_names == ("gripper.position", "waist.position")
    for row, (now, _) in enumerate(times(2, WRIST)):
        wanted = numbers(2, latest(2, JOINTS, now), 3)[[2, 0]]
        np.testing.assert_allclose(dataset.episode(2).state[row], wanted, atol=1e-4)
    with pytest.raises(UserError, match='choose joints with "names"'):
        opened(folder)


def test_equal_names_of_two_arms_get_their_topics(tmp_path: Path) -> None:
    def twice(episode: int, sent: list[Sent]) -> list[Sent]:
        joints = [each for each in sent if each.topic == JOINTS]
        return [*sent, *(replace(each, topic=f"/left{JOINTS}") for each in joints)]

    sources = [{"topic": topic, "field": "position"} for topic in (JOINTS, f"/left{JOINTS}")]
    dataset = opened(write_recording(tmp_path / "set", change=twice), state=sources)
    assert dataset.spec.state_names[::3] == (
        "joint_states.waist.position",
        "left.joint_states.waist.position",
    )
    whole = opened(tmp_path / "set", state=[{"topic": JOINTS}])
    assert whole.spec.state_names[:2] == ("position_0", "position_1")
    assert whole.spec.state_dimension == 6


IMAGES: dict[str, tuple[Callable[[np.ndarray], dict[str, Any]], dict[str, str]]] = {
    "rgb8 with padded rows": (lambda image: raw_image(0, image, pad=5), {}),
    "bgr8": (lambda image: raw_image(0, image[..., ::-1], "bgr8"), {}),
    "rgba8": (lambda image: raw_image(0, np.dstack([image, image[..., 0]]), "rgba8"), {}),
    "bgra8": (
        lambda image: raw_image(0, np.dstack([image[..., ::-1], image[..., 0]]), "bgra8"),
        {},
    ),
    "8UC3": (lambda image: raw_image(0, image[..., ::-1], "8UC3"), {"colours": "bgr"}),
    "wrongly called rgb8": (lambda image: raw_image(0, image[..., ::-1]), {"colours": "bgr"}),
    "jpeg": (lambda image: compressed(0, jpeg(image)), {}),
    "png": (lambda image: compressed(0, jpeg(image, "PNG"), "png"), {}),
    "png of bgr8": (
        lambda image: compressed(0, jpeg(image, "PNG"), "bgr8; png compressed bgr8"),
        {},
    ),
    "jpeg of rgb8": (
        lambda image: compressed(0, jpeg(image), "rgb8; jpeg compressed bgr8"),
        {},
    ),
    "jpeg stored from rgb8": (
        lambda image: compressed(0, jpeg(image[..., ::-1]), "rgb8; jpeg compressed rgb8"),
        {},
    ),
    "jpeg with red and blue swapped": (
        lambda image: compressed(0, jpeg(image[..., ::-1])),
        {"colours": "bgr"},
    ),
}


@pytest.mark.parametrize("case", IMAGES)
def test_red_stays_red_in_every_encoding(case: str, tmp_path: Path) -> None:
    make, more = IMAGES[case]
    topic = WRIST if "format" in make(marked(0, 0)) else TOP

    def change(episode: int, number: int, each: Sent) -> Sent:
        content = {**make(marked(episode, number)[..., :3]), "stamp": each.stamp}
        return replace(each, content=content)

    folder = write_recording(tmp_path / "set", change=changed(topic, change), episodes=1)
    camera = {"topic": topic, **more}
    dataset = opened(folder, clock=topic, cameras={"eye": camera})
    seen = [read_mark(image) for image in dataset.episode(0).images["eye"]]
    rows = [
        number
        for number, (now, _) in enumerate(times(0, topic))
        if latest(0, JOINTS, now) >= 0 and latest(0, COMMAND, now) >= 0
    ]
    assert seen == [(0, number, 0) for number in rows]


def test_grey_images_become_colour(tmp_path: Path) -> None:
    grey = np.arange(32 * 24, dtype=np.uint8).reshape(32, 24)
    change = changed(
        TOP, lambda _, k, each: replace(each, content=raw_image(each.stamp or 0, grey, "mono8"))
    )
    dataset = opened(write_recording(tmp_path / "set", change=change, episodes=1))
    np.testing.assert_array_equal(dataset.frames(0, "top", [0])[0], np.dstack([grey] * 3))


def test_instruction_of_a_topic(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "set")
    dataset = opened(folder, instruction={"topic": NOTES, "field": "data"})
    assert {task.instruction for task in dataset.tasks} == {"pick it up"}
    assert dataset.reader.contents.left_out == {}
    assert opened(folder).reader.contents.left_out == {NOTES: "the mapping does not use it"}


def test_an_interrupted_conversion_keeps_its_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_recording(tmp_path / "set")
    mapping, target = write_mapping(tmp_path / "map.json"), tmp_path / "copy"
    (tmp_path / ".copy.converting").mkdir()
    read = BagReader.frames

    def interrupted(self: BagReader, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        if index == 1:
            raise KeyboardInterrupt
        return read(self, index, camera, rows)

    monkeypatch.setattr(BagReader, "frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(folder, target, mapping=mapping, seal_seconds=0)
    monkeypatch.undo()
    other = write_mapping(tmp_path / "other.json", log_time=True)
    with pytest.raises(UserError, match="mapping"):
        convert(folder, target, mapping=other)
    convert(folder, target, mapping=mapping)
    assert_rows(EpisodeDataset.open(target))


def test_the_clock_may_be_any_topic(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", [each for each in usual(0) if each.topic != NOTES])
    dataset = opened(tmp_path / "bag", clock=COMMAND)
    assert dataset.fps == 20
    # Commands have no header, and go by the log.
    first = times(0, COMMAND)
    wanted = [
        k
        for k, (_, now) in enumerate(first)
        if latest(0, WRIST, now) >= 0 and latest(0, TOP, now) >= 0 and latest(0, JOINTS, now) >= 0
    ]
    np.testing.assert_allclose(
        dataset.episode(0).action[:, 0], [numbers(0, k, 1)[0] + 0.5 for k in wanted], atol=1e-4
    )
