"""What is in a ROS recording, for people who have to write its mapping."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import PackageError, install_command
from manyparts.core.printing import counted, first_of, printable
from manyparts.data.formats.bags.files import opened_bag, require_rosbags
from manyparts.data.formats.bags.messages import COMPRESSED, RAW
from manyparts.data.formats.errors import UnsupportedFormatError

_MAX_SHOWN = 20
_MAX_TIMED = 5000  # messages of a bag that rates are measured by
_PAGE = "docs/how-to/convert-a-ros-recording.md"
# The field that is usually wanted of some types.
_FIELDS = {
    "sensor_msgs/msg/JointState": "position",
    "std_msgs/msg/Float64MultiArray": "data",
    "std_msgs/msg/Float32MultiArray": "data",
    "std_msgs/msg/Float64": "data",
    "std_msgs/msg/Float32": "data",
    "geometry_msgs/msg/PoseStamped": "pose",
    "geometry_msgs/msg/TwistStamped": "twist",
    "geometry_msgs/msg/WrenchStamped": "wrench",
    "nav_msgs/msg/Odometry": "pose.pose",
    "sensor_msgs/msg/Joy": "axes",
    "geometry_msgs/msg/Pose": "",
    "geometry_msgs/msg/Twist": "",
}
_COMMAND = re.compile(r"cmd|command|action|target|goal|desired|leader")
_PLAIN_WORDS = re.compile(r"camera|image.*|color|colour|rgb|raw|rect.*|compressed|sensors?")


@dataclass
class TopicSummary:
    """A topic of a recording."""

    kind: str
    """The type of its messages."""
    messages: int = 0
    """How many there are in all bags."""
    bags: int = 0
    """How many bags have it."""
    rate_hz: float | None = None
    """Messages per second; None if there are too few."""


def refusal(path: Path, bags: Sequence[Path]) -> UnsupportedFormatError:
    """The error for a recording that is opened without a mapping: what is in it, and what to do.

    Args:
        path: what the user gave.
        bags: the bags there.
    """
    what = f"{path} is a ROS recording"
    if len(bags) > 1:
        what = f"{path} is a folder of {len(bags)} bags, a ROS recording"
    convert = f"manyparts data convert {path} TARGET --mapping FILE.json"
    needed = f"rows are made of its topics by a mapping ({_PAGE}): {convert}"
    try:
        require_rosbags()
    except PackageError:
        return UnsupportedFormatError(what, f"{install_command('bags')}, and then {needed}")
    try:
        topics = summarise(bags)
    except UserError as error:
        return UnsupportedFormatError(f"{what}, and cannot be read", f"{error}; {needed}")
    if not topics:
        return UnsupportedFormatError(f"{what} that is empty", f"record its topics again; {needed}")
    listed = [_shown(name, topic, len(bags)) for name, topic in sorted(topics.items())]
    example = json.dumps(example_mapping(topics))
    return UnsupportedFormatError(
        f"{what} with {first_of(listed, _MAX_SHOWN)}", f"{needed}, such as {example}"
    )


def summarise(bags: Sequence[Path]) -> dict[str, TopicSummary]:
    """The topics of all bags that can be read, by name. Raises UserError if none can."""
    topics: dict[str, TopicSummary] = {}
    error: UserError | None = None
    read = 0
    for bag in bags:
        try:
            with opened_bag(bag) as reader:
                _add(reader, topics)
            read += 1
        except UserError as why:
            error = error or why
    if not read and error is not None:
        raise error
    return topics


def example_mapping(topics: Mapping[str, TopicSummary]) -> dict[str, Any]:
    """A mapping that uses the topics by their types and names."""
    images = [name for name, topic in topics.items() if topic.kind in (RAW, COMPRESSED)]
    values = [name for name, topic in topics.items() if topic.kind in _FIELDS]
    commands = [name for name in values if _COMMAND.search(name.lower())] or values[-1:]
    state = [name for name in values if name not in commands] or values[:1]
    cameras: dict[str, str] = {}
    for name in sorted(images):
        short = _camera_name(name)
        cameras[short if short not in cameras else name.strip("/").replace("/", "_")] = name
    clock = min(images or state or ["/TOPIC"], key=lambda name: _rate(topics.get(name)))

    def sources(names: Sequence[str]) -> list[dict[str, str]]:
        return [
            {"topic": name} | ({"field": field} if (field := _FIELDS[topics[name].kind]) else {})
            for name in names
        ]

    return {
        "clock": clock,
        "cameras": cameras,
        "state": sources(state),
        "action": sources(commands) or [{"topic": "/TOPIC", "field": "FIELD"}],
        "instruction": "what the robot does",
    }


def _add(reader: Any, topics: dict[str, TopicSummary]) -> None:
    """Add the topics of an opened bag."""
    names = {connection.topic for connection in reader.connections}
    for connection in reader.connections:
        summary = topics.setdefault(connection.topic, TopicSummary(connection.msgtype))
        summary.messages += connection.msgcount
    for name in names:
        topics[name].bags += 1
    if not any(topics[name].rate_hz is None for name in names):
        return
    times: dict[str, list[int]] = {}
    for connection, logged, _ in islice(reader.messages(), _MAX_TIMED):
        times.setdefault(connection.topic, []).append(logged)
    for name, each in times.items():
        steps = np.diff(each)
        if topics[name].rate_hz is None and (steps > 0).any():
            topics[name].rate_hz = float(1e9 / np.median(steps[steps > 0]))


def _shown(name: str, topic: TopicSummary, bags: int) -> str:
    rate = "" if topic.rate_hz is None else f", {topic.rate_hz:.3g} Hz"
    where = "" if topic.bags == bags else f", in {topic.bags} of {counted(bags, 'bag')}"
    shown = f"{name} ({topic.kind}, {counted(topic.messages, 'message')}{rate}{where})"
    return printable(shown)


def _rate(topic: TopicSummary | None) -> float:
    return np.inf if topic is None or topic.rate_hz is None else topic.rate_hz


def _camera_name(topic: str) -> str:
    """A short name for a camera: "/camera/wrist/image_raw" is "wrist"."""
    words = [word for word in topic.split("/") if word and not _PLAIN_WORDS.fullmatch(word)]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", words[-1]) if words else "camera"
