"""Small ROS recordings, written by rosbags: joints, commands and two cameras, each at its own rate
and with its own delay until it is logged.

Message k of episode e holds 100 e + k and d / 64 more in dimension d; commands hold 0.5 more.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from data.formats.zarr_sets import marked, numbers
from PIL import Image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.bags.mapping import parse_mapping
from manyparts.data.formats.bags.reader import BagReader

STORE, STORE_1 = get_typestore(Stores.ROS2_HUMBLE), get_typestore(Stores.ROS1_NOETIC)
JOINTS, COMMAND, TOP, WRIST = "/joint_states", "/arm/command", "/top/image_raw", "/wrist/compressed"
NOTES = "/notes"
HAS_HEADER = (JOINTS, TOP, WRIST)
TYPES = {
    JOINTS: "sensor_msgs/msg/JointState",
    COMMAND: "std_msgs/msg/Float64MultiArray",
    TOP: "sensor_msgs/msg/Image",
    WRIST: "sensor_msgs/msg/CompressedImage",
    NOTES: "std_msgs/msg/String",
}
MS = 1_000_000  # nanoseconds
NAMES = ["waist", "shoulder", "gripper"]
MAPPING: dict[str, Any] = {
    "clock": WRIST,
    "cameras": {"top": TOP, "wrist": WRIST},
    "state": [{"topic": JOINTS, "field": "position"}],
    "action": [{"topic": COMMAND, "field": "data"}],
}


@dataclass(frozen=True)
class Sent:
    """One message."""

    topic: str
    stamp: int | None
    logged: int
    content: Any


def schedule(topic: str) -> tuple[int, int, int, int]:
    """Its rate in Hz, the first one's stamp in ms, its delay in ms, and how many there are."""
    return {
        JOINTS: (50, 1, 2, 45),
        COMMAND: (20, 3, 0, 18),
        TOP: (15, 6, 40, 13),
        WRIST: (10, 9, 60, 8),
        NOTES: (1, 0, 0, 1),
    }[topic]


def times(episode: int, topic: str) -> list[tuple[int, int]]:
    """The stamp of each message of a topic, and when it is logged."""
    rate, first, delay, count = schedule(topic)
    start = (1_700_000_000_000 + 60_000 * episode + first) * MS
    stamps = [start + number * 1_000_000_000 // rate for number in range(count)]
    return [(stamp, stamp + delay * MS) for stamp in stamps]


def jpeg(pixels: np.ndarray, kind: str = "JPEG") -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return np.frombuffer(buffer.getvalue(), np.uint8)


def joint_state(stamp: int, values: np.ndarray, names: Sequence[str] = NAMES) -> dict[str, Any]:
    return {"stamp": stamp, "name": list(names), "position": values, "velocity": values / 2}


def raw_image(stamp: int, pixels: np.ndarray, encoding: str = "rgb8", pad: int = 0) -> dict:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, pad)))
    return {
        "stamp": stamp,
        "height": height,
        "width": width,
        "encoding": encoding,
        "step": rows.shape[1],
        "data": np.ascontiguousarray(rows).reshape(-1),
    }


def compressed(stamp: int, data: np.ndarray, form: str = "jpeg") -> dict[str, Any]:
    return {"stamp": stamp, "format": form, "data": data}


def usual(episode: int) -> list[Sent]:
    """The messages of an episode."""
    sent: list[Sent] = []
    for topic in TYPES:
        for number, (stamp, logged) in enumerate(times(episode, topic)):
            sent.append(Sent(topic, stamp, logged, content_of(topic, episode, number, stamp)))
    return sent


def content_of(topic: str, episode: int, number: int, stamp: int) -> Any:
    if topic == JOINTS:
        return joint_state(stamp, numbers(episode, number, 3))
    if topic == COMMAND:
        return numbers(episode, number, 3) + 0.5
    if topic == TOP:
        return raw_image(stamp, marked(episode, number, 0))
    if topic == WRIST:
        return compressed(stamp, jpeg(marked(episode, number, 1)))
    return "pick it up"


def message(topic: str, content: Any, store: Any = STORE) -> Any:
    """The message of what `content_of` returns."""
    types = store.types
    if topic == NOTES:
        return types[TYPES[topic]](content)
    if TYPES.get(topic) == TYPES[COMMAND] or topic.endswith("command"):
        layout = types["std_msgs/msg/MultiArrayLayout"]([], 0)
        return types[TYPES[COMMAND]](layout, np.asarray(content, np.float64))
    seconds, nanoseconds = divmod(content["stamp"], 10**9)
    stamp = types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    more = [0] if store is STORE_1 else []  # ROS 1 counts headers
    header = types["std_msgs/msg/Header"](*more, stamp, "base")
    if "position" in content:
        parts = (content["position"], content["velocity"])
        values = [np.ascontiguousarray(part, np.float64) for part in parts]
        return types[TYPES[JOINTS]](header, content["name"], *values, np.zeros(0))
    if "format" in content:
        return types[TYPES[WRIST]](header, content["format"], content["data"])
    shape = [content[name] for name in ("height", "width", "encoding")]
    return types[TYPES[TOP]](header, *shape, 0, content["step"], content["data"])


def kind_of(topic: str) -> str:
    """The type of a topic's messages; further topics are called like one of TYPES."""
    return TYPES.get(topic) or next(kind for name, kind in TYPES.items() if topic.endswith(name))


def write_bag(path: Path, sent: Sequence[Sent], kind: str = "mcap") -> Path:
    """kind: sqlite3, mcap, file (of mcap) or ros1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    topics = list(dict.fromkeys(each.topic for each in sent))
    ordered = sorted(sent, key=lambda each: each.logged)
    if kind == "ros1":
        path = path.with_suffix(".bag")
        with Writer1(path) as bag:
            opened = {
                topic: bag.add_connection(topic, kind_of(topic), typestore=STORE_1)
                for topic in topics
            }
            for each in ordered:
                made = message(each.topic, each.content, STORE_1)
                raw = STORE_1.serialize_ros1(made, kind_of(each.topic))
                bag.write(opened[each.topic], each.logged, raw)
        return path
    plugin = StoragePlugin.SQLITE3 if kind == "sqlite3" else StoragePlugin.MCAP
    with Writer(path, version=9, storage_plugin=plugin) as bag:
        opened = {
            topic: bag.add_connection(topic, kind_of(topic), typestore=STORE) for topic in topics
        }
        for each in ordered:
            raw = STORE.serialize_cdr(message(each.topic, each.content), kind_of(each.topic))
            bag.write(opened[each.topic], each.logged, raw)
    if kind != "file":
        return path
    (file,) = path.glob("*.mcap")
    moved = file.rename(path.with_suffix(".mcap"))
    (path / "metadata.yaml").unlink()
    path.rmdir()
    return moved


def write_recording(
    folder: Path,
    kind: str = "mcap",
    change: Callable[[int, list[Sent]], list[Sent]] = lambda _, sent: sent,
    episodes: int = 3,
) -> Path:
    """A folder with a bag for each episode. change: changes an episode's messages."""
    for episode in range(episodes):
        write_bag(folder / f"episode_{episode}", change(episode, usual(episode)), kind)
    return folder


def write_mapping(path: Path, values: Mapping[str, Any] = MAPPING, **changed: Any) -> Path:
    path.write_text(json.dumps({**values, **changed}))
    return path


Change = Callable[[int, list[Sent]], list[Sent]]


def changed(topic: str, change: Callable[[int, int, Sent], Sent | None]) -> Change:
    """Changes or drops the messages of a topic, by episode and number."""

    def of_episode(episode: int, sent: list[Sent]) -> list[Sent]:
        of_topic = [each for each in sent if each.topic == topic]
        others = [each for each in sent if each.topic != topic]
        results = [change(episode, number, each) for number, each in enumerate(of_topic)]
        return [*others, *(each for each in results if each is not None)]

    return of_episode


def with_stamps(topic: str, stamp_of: Callable[[int, int], int]) -> Change:
    """Sets the headers' times of a topic, by the number and the usual time of a message."""

    def change(_: int, number: int, each: Sent) -> Sent:
        assert each.stamp is not None
        stamp = stamp_of(number, each.stamp)
        return replace(each, stamp=stamp, content={**each.content, "stamp": stamp})

    return changed(topic, change)


def with_content(topic: str, **values: Any) -> Change:
    """Sets some values of all messages of a topic."""
    return changed(topic, lambda _, number, each: replace(each, content={**each.content, **values}))


def opened(path: Path, **changed: Any) -> EpisodeDataset:
    """The recording under the usual mapping, with some of its entries changed."""
    return EpisodeDataset(BagReader(path, parse_mapping({**MAPPING, **changed}, "map.json")))


def latest(episode: int, topic: str, now: int, *, by_log: bool = False) -> int:
    """The number of the latest message of a topic that is not after a time; -1 if none is."""
    known = [
        logged if by_log or topic not in HAS_HEADER else stamp
        for stamp, logged in times(episode, topic)
    ]
    return max((number for number, time in enumerate(known) if time <= now), default=-1)
