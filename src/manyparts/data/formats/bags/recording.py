"""Read one bag under a mapping: rows at the clock's messages, each with the latest message of every
other topic that is not after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.core.printing import first_of
from manyparts.data.formats.bags.alignment import Alignment, TopicTimes, align
from manyparts.data.formats.bags.files import opened_bag
from manyparts.data.formats.bags.mapping import BagMapping, ValueSource
from manyparts.data.formats.bags.messages import (
    COMPRESSED,
    RAW,
    joints_of,
    numbers_of,
    stamp_of,
    text_of,
)

_MAX_SHOWN = 5
_MAX_MESSAGES = 10_000_000  # of the mapped topics of a bag


@dataclass(frozen=True)
class Rows:
    """The rows of one bag."""

    stamps: np.ndarray
    """float64 (T,), times in seconds since the first row."""
    state: np.ndarray
    """float32 (T, s)."""
    action: np.ndarray
    """float32 (T, a)."""
    images: Mapping[str, np.ndarray]
    """int64 (T,), for each camera the numbers of its topic's messages, in the order of the log."""
    text: str
    """The instruction that a topic holds; "" without one."""
    alignment: Alignment
    """What the alignment met."""


@dataclass
class _Topic:
    """The messages of one topic, in the order of the log."""

    times: TopicTimes
    """When they were logged, and the times of their headers."""
    kept: dict[ValueSource, list[int]] = field(default_factory=dict)
    """The numbers of the messages that hold each source."""
    values: dict[ValueSource, list[np.ndarray]] = field(default_factory=dict)
    """What these hold."""
    text: str = ""
    """The first message's text."""


class RecordingReader:
    """Reads the bags of one recording, which all name their numbers as the first one does."""

    def __init__(self, mapping: BagMapping) -> None:
        self._mapping = mapping
        self._names: dict[ValueSource, list[str]] = {}

    def names(self, sources: tuple[ValueSource, ...]) -> tuple[str, ...]:
        """A name for each number of some sources, once a bag was read: "waist.position", or with
        its topic where several have that name."""
        short = [name for source in sources for name in self._names[source]]
        if len(set(short)) == len(short):
            return tuple(short)
        return tuple(
            f"{source.topic.strip('/').replace('/', '.')}.{name}"
            for source in sources
            for name in self._names[source]
        )

    def read(self, bag: Path) -> Rows:
        """Read a bag's rows.

        Raises:
            UserError: naming the bag, and what of it does not fit the mapping.
        """
        with opened_bag(bag) as reader:
            return self._rows(self._topics(reader, bag), bag)

    def _topics(self, reader: Any, bag: Path) -> dict[str, _Topic]:
        """Read all messages of the mapped topics."""
        connections = mapped_connections(reader, self._mapping, bag)
        topics = {topic: _Topic(TopicTimes(topic)) for topic in self._mapping.topics}
        sources = {
            topic: [source for source in self._mapping.sources if source.topic == topic]
            for topic in topics
        }
        instruction = self._mapping.instruction
        for count, (connection, logged, raw) in enumerate(reader.messages(connections)):
            if count >= _MAX_MESSAGES:
                raise UserError(f"{bag} holds more than {_MAX_MESSAGES} messages of these topics")
            topic = topics[connection.topic]
            number = len(topic.times.logged)
            try:
                message = reader.deserialize(raw, connection.msgtype)
                topic.times.add(logged, stamp_of(message))
                for source in sources[connection.topic]:
                    values = self._values_of(message, source)
                    if values is not None:
                        topic.kept.setdefault(source, []).append(number)
                        topic.values.setdefault(source, []).append(values)
                is_text = isinstance(instruction, ValueSource)
                if is_text and instruction.topic == connection.topic and not topic.text:
                    topic.text = text_of(message, instruction.field)
            except UserError as error:
                where = f"{bag}: message {number} of {connection.topic}"
                raise UserError(f"{where}: {error}") from error
        for name, topic in topics.items():
            if not topic.times.logged:
                raise UserError(f"{bag} holds no messages of {name}")
        return topics

    def _values_of(self, message: Any, source: ValueSource) -> np.ndarray | None:
        """A source's numbers in the order of the first message; None for a message that is about
        other joints than the chosen ones."""
        joints = joints_of(message)
        if source.names and not set(source.names) <= set(joints):
            return None
        values, names = numbers_of(message, source)
        if source.names:
            if len(joints) != len(values):
                raise UserError(
                    f"it holds {len(values)} numbers and names {len(joints)} joints, so that "
                    "none can be chosen by its name"
                )
            chosen = [joints.index(joint) for joint in source.names]
            values, names = values[chosen], [names[index] for index in chosen]
        expected = self._names.setdefault(source, names)
        if names == expected:
            return values
        if sorted(names) == sorted(expected) and len(set(names)) == len(names):
            return values[[names.index(name) for name in expected]]
        raise UserError(
            f"it holds {first_of(names, _MAX_SHOWN)}; the first one holds "
            f"{first_of(expected, _MAX_SHOWN)}" + ('; choose joints with "names"' if joints else "")
        )

    def _rows(self, topics: Mapping[str, _Topic], bag: Path) -> Rows:
        mapping = self._mapping
        for source in mapping.sources:
            if source not in topics[source.topic].kept:
                wanted = first_of(source.names, _MAX_SHOWN)
                raise UserError(f"{bag}: no message of {source.topic} holds all of {wanted}")
        followers = {
            (name, camera.topic): np.arange(len(topics[camera.topic].times.logged))
            for name, camera in mapping.cameras.items()
        }
        kept = {
            (source, source.topic): np.asarray(topics[source.topic].kept[source])
            for source in mapping.sources
        }
        times = {name: topic.times for name, topic in topics.items()}
        alignment = align(mapping, times, {**followers, **kept}, bag)
        values = {
            source: np.stack(topics[source.topic].values[source])[alignment.picks[source]]
            for source in mapping.sources
        }
        length = len(alignment.stamps)

        def joined(sources: tuple[ValueSource, ...]) -> np.ndarray:
            parts = [np.zeros((length, 0)), *(values[source] for source in sources)]
            return np.concatenate(parts, axis=1).astype(np.float32)

        return Rows(
            stamps=alignment.stamps,
            state=joined(mapping.state),
            action=joined(mapping.action),
            images={name: alignment.picks[name] for name in mapping.cameras},
            text=next((topic.text for topic in topics.values() if topic.text), ""),
            alignment=alignment,
        )


def mapped_connections(reader: Any, mapping: BagMapping, bag: Path) -> list[Any]:
    """The connections of the mapped topics.

    Raises:
        UserError: a topic is missing, or a camera's topic holds no images.
    """
    by_topic: dict[str, list[Any]] = {}
    for connection in reader.connections:
        by_topic.setdefault(connection.topic, []).append(connection)
    if not by_topic:
        raise UserError(f"{bag} is empty: it has no topics")
    for topic in mapping.topics:
        if topic not in by_topic:
            raise UserError(f"{bag} has no topic {topic!r}; {closest(topic, by_topic)}")
        kinds = sorted({connection.msgtype for connection in by_topic[topic]})
        if len(kinds) > 1:
            raise UserError(f"{bag}: {topic} has messages of several types: {', '.join(kinds)}")
    for name, camera in mapping.cameras.items():
        kind = by_topic[camera.topic][0].msgtype
        if kind not in (RAW, COMPRESSED):
            raise UserError(
                f"{bag}: camera {name!r}: {camera.topic} is {kind}; expected {RAW} or {COMPRESSED}"
            )
    return [connection for topic in mapping.topics for connection in by_topic[topic]]
