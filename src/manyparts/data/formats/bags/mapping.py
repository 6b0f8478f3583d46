"""The mapping that says how the topics of a ROS recording become rows: its JSON, parsed and
checked.

docs/how-to/convert-a-ros-recording.md describes it for users.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError, closest
from manyparts.data.formats.errors import read_json

COLOURS = ("rgb", "bgr")
_CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KEYS = ("clock", "cameras", "state", "action", "instruction", "log_time", "embodiment")


@dataclass(frozen=True)
class CameraSource:
    """A topic of images."""

    topic: str
    """The topic."""
    colours: str | None = None
    """The order of its colours, "rgb" or "bgr"; None: as its messages say."""


@dataclass(frozen=True)
class ValueSource:
    """Numbers of a topic's messages."""

    topic: str
    """The topic."""
    field: str = ""
    """The field, such as "pose.position"; "" for all numbers of the message."""
    names: tuple[str, ...] = ()
    """The joints to take, by the message's own `name`; all if empty."""

    def __str__(self) -> str:
        return f"{self.topic} {self.field}".strip()


@dataclass(frozen=True)
class BagMapping:
    """How the topics of a recording become rows."""

    clock: str
    """The topic with a message for each row."""
    action: tuple[ValueSource, ...]
    """What is concatenated to the action."""
    state: tuple[ValueSource, ...]
    """What is concatenated to the state."""
    cameras: Mapping[str, CameraSource]
    """Each camera's images, by the camera's name."""
    instruction: str | ValueSource | None
    """The instruction of all episodes, or the text of a topic's first message."""
    log_time: frozenset[str] | None
    """Topics that go by the time at which they were logged; None: all."""
    embodiment: str | None
    """The robot's name."""

    @property
    def sources(self) -> tuple[ValueSource, ...]:
        """All sources of numbers, each once."""
        return tuple(dict.fromkeys((*self.state, *self.action)))

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics, each once."""
        text = (self.instruction.topic,) if isinstance(self.instruction, ValueSource) else ()
        cameras = (camera.topic for camera in self.cameras.values())
        values = (source.topic for source in self.sources)
        return tuple(dict.fromkeys((self.clock, *cameras, *values, *text)))

    def goes_by_log(self, topic: str) -> bool:
        """Whether a topic's messages are taken at the time at which they were logged."""
        return self.log_time is None or topic in self.log_time


def read_mapping(path: Path) -> tuple[BagMapping, dict[str, Any]]:
    """Read a mapping.

    Args:
        path: the JSON file.

    Returns:
        The mapping, and the file's values.

    Raises:
        UserError: naming what is missing, unknown or of a wrong type.
    """
    values = read_json(path)
    return parse_mapping(values, str(path)), values


def parse_mapping(values: Mapping[str, Any], where: str) -> BagMapping:
    """Parse a mapping.

    Args:
        values: the JSON object.
        where: the file, for errors.

    Raises:
        UserError: beginning with `where`, see `read_mapping`.
    """
    _require_keys(values, _KEYS, where)
    for key in ("clock", "action"):
        if key not in values:
            raise UserError(f"{where} lacks {key!r}")
    cameras = values.get("cameras", {})
    if not isinstance(cameras, Mapping):
        raise UserError(f"{where}: cameras is {_shown(cameras)}; expected names and their topics")
    state, action = _sources(values, "state", where), _sources(values, "action", where)
    if not action:
        raise UserError(f"{where}: action has no topic")
    if not state and not cameras:
        raise UserError(f"{where} has neither cameras nor state")
    log_time = values.get("log_time", [])
    if log_time is True or log_time is False:
        log_topics = None if log_time else frozenset()
    else:
        log_topics = frozenset(_texts(log_time, f"{where}: log_time", "true, or topics"))
    mapping = BagMapping(
        clock=_topic(values["clock"], f"{where}: clock"),
        action=action,
        state=state,
        cameras={name: _camera(name, camera, where) for name, camera in cameras.items()},
        instruction=_instruction(values.get("instruction"), where),
        log_time=log_topics,
        embodiment=_name(values.get("embodiment"), f"{where}: embodiment"),
    )
    if unused := sorted((mapping.log_time or frozenset()) - set(mapping.topics)):
        raise UserError(f"{where}: log_time names {unused[0]}, which the mapping does not use")
    return mapping


def _sources(values: Mapping[str, Any], key: str, where: str) -> tuple[ValueSource, ...]:
    entries = values.get(key, [])
    entries = entries if isinstance(entries, list) else [entries]
    sources = tuple(_source(entry, f"{where}: {key}") for entry in entries)
    if len(set(sources)) != len(sources):
        raise UserError(f"{where}: {key} has {_first_double(map(str, sources))} twice")
    return sources


def _source(entry: Any, where: str) -> ValueSource:
    if isinstance(entry, str):
        return ValueSource(_topic(entry, where))
    if not isinstance(entry, Mapping):
        raise UserError(
            f'{where} holds {_shown(entry)}; expected a topic, or {{"topic": ..., "field": ...}}'
        )
    _require_keys(entry, ("topic", "field", "names"), where)
    field = entry.get("field", "")
    if not isinstance(field, str):
        raise UserError(f'{where}: field is {_shown(field)}; expected text, such as "position"')
    names = tuple(_texts(entry.get("names", []), f"{where}: names", "a list of joints"))
    if len(set(names)) != len(names):
        raise UserError(f"{where}: names has {_first_double(names)} twice")
    return ValueSource(_topic(entry.get("topic"), f"{where}: topic"), field, names)


def _camera(name: Any, entry: Any, where: str) -> CameraSource:
    where = f"{where}: camera {name!r}"
    if not _CAMERA_NAME.fullmatch(str(name)):
        raise UserError(f"{where} has a name of other characters than letters, digits, _ . -")
    if isinstance(entry, str):
        return CameraSource(_topic(entry, where))
    if not isinstance(entry, Mapping):
        raise UserError(
            f'{where} is {_shown(entry)}; expected a topic, or {{"topic": ..., "colours": "bgr"}}'
        )
    _require_keys(entry, ("topic", "colours"), where)
    colours = entry.get("colours")
    if colours is not None and colours not in COLOURS:
        raise UserError(f"{where}: colours is {_shown(colours)}; choices: {', '.join(COLOURS)}")
    return CameraSource(_topic(entry.get("topic"), f"{where}: topic"), colours)


def _instruction(value: Any, where: str) -> str | ValueSource | None:
    if isinstance(value, Mapping):
        return _source(value, f"{where}: instruction")
    return _name(value, f"{where}: instruction")


def _name(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where} is {_shown(value)}; expected text")
    return value.strip()


def _topic(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f'{where} is {_shown(value)}; expected a topic, such as "/joint_states"')
    return value


def _texts(value: Any, where: str, expected: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{where} is {_shown(value)}; expected {expected}")
    return value


def _require_keys(values: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    for key in values:
        if key not in allowed:
            raise UserError(f"{where} has an unknown entry {key!r}; {closest(str(key), allowed)}")


def _first_double(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
