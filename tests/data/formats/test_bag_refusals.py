"""Mappings with a mistake, and recordings that contradict themselves: refused in one line that says
what is wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.bag_sets import (
    COMMAND,
    JOINTS,
    MS,
    NAMES,
    NOTES,
    STORE,
    TOP,
    TYPES,
    WRIST,
    Change,
    Sent,
    changed,
    jpeg,
    opened,
    raw_image,
    times,
    with_content,
    with_stamps,
    write_mapping,
    write_recording,
)
from data.formats.zarr_sets import marked
from rosbags.rosbag2 import StoragePlugin, Writer

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.bags.mapping import parse_mapping
from manyparts.data.tools.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no such topic": (
        {"state": [{"topic": "/joint_state", "field": "position"}]},
        "has no topic '/joint_state'; did you mean /joint_states?",
    ),
    "no such field": (
        {"state": [{"topic": JOINTS, "field": "positions"}]},
        "message 0 of /joint_states: there is no field 'positions': no 'positions'; did you mean",
    ),
    "an image": ({"action": [{"topic": WRIST}]}, "it is an image, and no numbers; name its topic"),
    "the same twice": (
        {"state": [{"topic": JOINTS, "field": "position"}] * 2},
        "state has /joint_states position twice",
    ),
    "a field below numbers": (
        {"state": [{"topic": JOINTS, "field": "position.x"}]},
        "no 'x'; it has no fields",
    ),
    "a field of text": ({"state": [{"topic": NOTES, "field": "data"}]}, "data is str and no numb"),
    "an empty field": ({"state": [{"topic": JOINTS, "field": "effort"}]}, "effort is empty"),
    "an unknown joint": (
        {"state": [{"topic": JOINTS, "field": "position", "names": ["elbow"]}]},
        "no message of /joint_states holds all of elbow",
    ),
    "a camera without images": (
        {"cameras": {"top": JOINTS}},
        "camera 'top': /joint_states is sensor_msgs/msg/JointState; expected sensor_msgs/msg/Image",
    ),
    "an unknown entry": ({"clok": "/x"}, "unknown entry 'clok'; did you mean clock?"),
    "an unknown entry of a source": (
        {"state": [{"topic": JOINTS, "filed": "position"}]},
        "map.json: state has an unknown entry 'filed'; did you mean field?",
    ),
    "no action": ({"action": []}, "map.json: action has no topic"),
    "nothing observed": ({"state": [], "cameras": {}}, "map.json has neither cameras nor state"),
    "a clock that is no text": ({"clock": 10}, "map.json: clock is 10; expected a topic, such as"),
    "cameras as a list": ({"cameras": [TOP]}, "expected names and their topics"),
    "a camera's number": ({"cameras": {"top": 3}}, "camera 'top' is 3; expected a topic, or"),
    "a camera's path": ({"cameras": {"../top": TOP}}, "of other characters than letters, digits"),
    "unknown colours": (
        {"cameras": {"top": {"topic": TOP, "colours": "hsv"}}},
        "colours is 'hsv'; choices: rgb, bgr",
    ),
    "a source that is a number": ({"state": [7]}, "map.json: state holds 7; expected a topic, or"),
    "a source without a topic": ({"state": [{"field": "a"}]}, "state: topic is None; expected a"),
    "joints twice": (
        {"state": [{"topic": JOINTS, "field": "position", "names": ["waist", "waist"]}]},
        "names has waist twice",
    ),
    "log_time of another topic": ({"log_time": ["/x"]}, "log_time names /x, which the mapping"),
    "log_time that is a number": ({"log_time": 3}, "log_time is 3; expected true, or topics"),
    "an empty instruction": ({"instruction": " "}, "instruction is ' '; expected text"),
    "an instruction of numbers": (
        {"instruction": {"topic": COMMAND, "field": "data"}},
        "message 0 of /arm/command: data is no text",
    ),
    "an empty robot": ({"embodiment": ""}, "embodiment is ''; expected text"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_a_mapping_is_one_line(case: str, tmp_path: Path) -> None:
    entries, why = MISTAKES[case]
    folder = write_recording(tmp_path / "set", episodes=1)
    with pytest.raises(UserError, match=re.escape(why)) as refused:
        opened(folder, **entries)
    assert "\n" not in str(refused.value)


def test_a_mapping_file_that_is_missing_or_torn(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "set", episodes=1)
    for content, why in ((None, "is missing"), ("{", "not readable JSON"), ("[]", "no")):
        if content is not None:
            (tmp_path / "map.json").write_text(content)
        with pytest.raises(UserError, match=f"map.json .*{why}"):
            convert(folder, tmp_path / "copy", mapping=tmp_path / "map.json")
    write_mapping(tmp_path / "map.json")
    with pytest.raises(UserError, match=r"lacks 'clock'"):
        parse_mapping({"action": [COMMAND]}, "map.json")
    (tmp_path / "other").mkdir()
    for path, why in ((tmp_path / "other", "is no ROS"), (tmp_path / "none", "does not exist")):
        with pytest.raises(UserError, match=f"{why}.*; a mapping is for MCAP files and bags"):
            convert(path, tmp_path / "copy", mapping=tmp_path / "map.json")
    assert not (tmp_path / "copy").exists()


def other_joints(_: int, number: int, each: Sent) -> Sent:
    names = [*NAMES[:2], "wrist"] if number > 2 else NAMES
    return replace(each, content={**each.content, "name": names})


def other_size(episode: int, number: int, each: Sent) -> Sent:
    pixels = marked(episode, number, size=20 if number > 4 else 32)
    return replace(each, content=raw_image(each.stamp or 0, pixels))


REFUSED: dict[str, tuple[Change, str]] = {
    "a topic is missing in a bag": (
        lambda episode, sent: [each for each in sent if episode != 1 or each.topic != COMMAND],
        "episode_1 has no topic '/arm/command'",
    ),
    "the clock goes back": (
        with_stamps(WRIST, lambda number, stamp: stamp - 300 * MS * (number > 4)),
        "episode_0: the time of /wrist/compressed goes back by 0.2 s at message 5",
    ),
    "another topic goes back": (
        with_stamps(JOINTS, lambda number, stamp: stamp - 5000 * MS * (number > 20)),
        "the time of /joint_states goes back by 4.98 s at message 21",
    ),
    "some headers hold no time": (
        with_stamps(JOINTS, lambda number, stamp: stamp * (number != 3)),
        "message 3 of /joint_states has a header without a time (0)",
    ),
    "headers count from the start": (
        with_stamps(WRIST, lambda _, stamp: stamp - times(0, WRIST)[0][0] + MS),
        "comes 1.7e+09 s after the last one of the clock /wrist/compressed; if their headers",
    ),
    "an empty bag": (lambda *_: [], "episode_0 is empty: it has no topics"),
    "other joints": (
        changed(JOINTS, other_joints),
        "message 3 of /joint_states: it holds waist.position, shoulder.position, wrist.position; "
        "the first one holds waist.position",
    ),
    "an image of another size": (changed(TOP, other_size), "top has images of several sizes"),
    "depth": (with_content(TOP, encoding="16UC1"), "its encoding is 16UC1, which is depth"),
    "an order that nothing says": (
        with_content(TOP, encoding="8UC3"),
        'does not say the order of colours; add "colours": "bgr"',
    ),
    "a bayer pattern": (with_content(TOP, encoding="bayer_rggb8"), "its encoding is 'bayer_rgg"),
    "rows that are too short": (with_content(TOP, step=5), "in rows of 5 bytes"),
    "too few bytes": (with_content(TOP, data=np.zeros(9, np.uint8)), "it holds 9 bytes"),
    "a torn image": (
        with_content(WRIST, data=jpeg(marked(0, 0))[:40]),
        "message 0 of /wrist/compressed: it cannot be decoded",
    ),
    "compressed depth": (with_content(WRIST, format="16UC1; compressedDepth png"), "is depth"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_recordings_that_contradict_are_refused(case: str, tmp_path: Path) -> None:
    change, why = REFUSED[case]
    folder = write_recording(tmp_path / "set", change=change, episodes=2)
    with pytest.raises(UserError, match=re.escape(why)) as refused:
        for episode in opened(folder):
            assert len(episode.action)
    assert "\n" not in str(refused.value)


def test_torn_bags_are_named(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "set", "file")
    whole = (folder / "episode_1.mcap").read_bytes()
    (folder / "episode_1.mcap").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"episode_1.mcap cannot be read .*`mcap recover` repairs"):
        opened(folder)
    bag = write_recording(tmp_path / "other", "sqlite3", episodes=1) / "episode_0"
    (bag / "episode_0.db3").unlink()
    (bag / "a.mcap").write_bytes(b"")
    with pytest.raises(UserError, match=r"episode_0 cannot be read as a ROS recording"):
        opened(bag)


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("metadata.yaml", "episode_1 has a recording and no metadata.yaml, .* ros2 bag reindex"),
        ("episode_1.db3", "episode_1 has metadata.yaml and no recording"),
    ],
)
def test_half_a_bag_is_not_left_out(lost: str, why: str, tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "set", "sqlite3")
    (folder / "episode_1" / lost).unlink()
    with pytest.raises(UserError, match=why.replace(" ros2", " `ros2")):
        opened(folder)


def test_other_mcap_files_are_named(tmp_path: Path) -> None:
    whole = (write_recording(tmp_path / "set", "file", episodes=1) / "episode_0.mcap").read_bytes()
    for old, new, why in (
        (b"ros2", b"ros9", "only those of ROS 2 are read"),
        (b"ros2msg", b"jsonsch", "messages in JSON are not read"),
    ):
        (tmp_path / "a.mcap").write_bytes(whole.replace(old, new, 1 if new == b"ros9" else -1))
        with pytest.raises(UserError, match=f"a.mcap cannot be read as a ROS recording.*{why}"):
            opened(tmp_path / "a.mcap")
        with pytest.raises(UserError, match=f"a ROS recording, and cannot be read; .*{why}"):
            EpisodeDataset.open(tmp_path / "a.mcap")


def test_a_bag_without_messages_is_empty(tmp_path: Path) -> None:
    topics = {topic: kind for topic, kind in TYPES.items() if topic != NOTES}
    for plugin in StoragePlugin:
        path = tmp_path / plugin.name
        with Writer(path, version=9, storage_plugin=plugin) as bag:
            for topic, kind in topics.items():
                bag.add_connection(topic, kind, typestore=STORE)
        with pytest.raises(UserError, match=f"{plugin.name} holds no messages of {WRIST}"):
            opened(path)
        with pytest.raises(UserError, match=r"0 messages.*--mapping FILE.json"):
            EpisodeDataset.open(path)
