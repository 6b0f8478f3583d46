"""Read a ROS recording under a mapping, one bag per episode; `data convert --mapping` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from manyparts.core.columns import ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of
from manyparts.core.spec import Spec
from manyparts.data.formats import arrays
from manyparts.data.formats.bags.files import bag_files, find_bags, opened_bag
from manyparts.data.formats.bags.mapping import BagMapping
from manyparts.data.formats.bags.messages import COMPRESSED, decode_image
from manyparts.data.formats.bags.recording import RecordingReader, Rows, mapped_connections
from manyparts.data.formats.errors import UnsupportedFormatError
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.row_times import rate_of

_MAX_SHOWN = 5


class BagReader:
    """See `formats.reader.Reader`."""

    def __init__(self, path: Path, mapping: BagMapping) -> None:
        """Read the numbers and times of all bags.

        Args:
            path: a bag, or a folder of bags.
            mapping: how topics become rows.

        Raises:
            UserError: naming the bag, and what of it does not fit the mapping.
        """
        self.path, self._mapping = path, mapping
        self._bags = find_bags(path) if path.exists() else []
        if not self._bags:
            what = "is no ROS recording" if path.exists() else "does not exist"
            raise UnsupportedFormatError(
                f"{path} {what}", "a mapping is for MCAP files and bags, and folders of these"
            )
        reader = RecordingReader(mapping)
        self._rows = [reader.read(bag) for bag in self._bags]
        self._compressed = dict.fromkeys(mapping.cameras, False)
        sizes = {name: self._first_size(name) for name in mapping.cameras}
        self.contents = self._describe(reader, sizes)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        rows = self._rows[index]
        return {STATE: rows.state, ACTION: rows.action}

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        wanted = self._rows[index].images[camera][rows]
        different = np.unique(wanted)
        decoded = dict(self._decoded(index, camera, different.tolist()))
        sizes = {image.shape for image in decoded.values()}
        if len(sizes) > 1:
            raise UserError(f"{self._bags[index]}: {camera} has images of several sizes: {sizes}")
        return np.stack([decoded[number] for number in wanted.tolist()])

    def files(self) -> Sequence[Path]:
        files: list[Path] = []
        for bag in self._bags:
            files += bag_files(bag)
        return files

    def _decoded(
        self, index: int, camera: str, numbers: Sequence[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Some of a camera's images, by the numbers of their messages, ascending."""
        bag, source = self._bags[index], self._mapping.cameras[camera]
        with opened_bag(bag) as reader:
            connections = [
                each
                for each in mapped_connections(reader, self._mapping, bag)
                if each.topic == source.topic
            ]
            kind, wanted = connections[0].msgtype, set(numbers)
            self._compressed[camera] = kind == COMPRESSED
            for number, (connection, _, raw) in enumerate(reader.messages(connections)):
                if number in wanted:
                    message = reader.deserialize(raw, connection.msgtype)
                    try:
                        yield number, decode_image(message, kind, source.colours)
                    except UserError as error:
                        where = f"{bag}: message {number} of {source.topic}"
                        raise UserError(f"{where}: {error}") from error
                if number >= numbers[-1]:
                    break

    def _first_size(self, camera: str) -> tuple[int, int]:
        """(height, width) of a camera's first image."""
        first = int(self._rows[0].images[camera][0])
        _, image = next(self._decoded(0, camera, [first]))
        height, width = image.shape[:2]
        return height, width

    def _describe(self, reader: RecordingReader, sizes: dict[str, tuple[int, int]]) -> Contents:
        mapping, names = self._mapping, [_episode_name(bag) for bag in self._bags]
        plan = arrays.Plan(
            cameras={name: (name, *size) for name, size in sizes.items()},
            state=(),
            state_names=reader.names(mapping.state),
            left_out=dict.fromkeys(self._other_topics(), "the mapping does not use it"),
        )
        _, statistics = arrays.collect_episodes(
            names, self.columns, self.path, _refuse, plan.state_names
        )
        fps, notes = rate_of([rows.stamps for rows in self._rows], names)
        texts = [self._instruction(rows) for rows in self._rows]
        tasks, episode_task = arrays.tasks_of(texts)
        own_name = self.path.absolute().name
        spec = arrays.spec_of(
            plan,
            statistics,
            embodiment=mapping.embodiment or own_name,
            named=mapping.embodiment is not None,
            fps=fps,
        )
        action_names = reader.names(mapping.action)
        kinds = {"encoded" if compressed else "raw" for compressed in self._compressed.values()}
        return Contents(
            format="ROS recording",
            spec=_with_action_names(spec, action_names),
            fps=fps,
            tasks=tasks,
            lengths=np.asarray([len(rows.stamps) for rows in self._rows], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images=", ".join(sorted(kinds)) or "none",
            left_out=plan.left_out,
            episode_names=tuple(names),
            notes=(*notes, *self._notes(names)),
        )

    def _other_topics(self) -> list[str]:
        with opened_bag(self._bags[0]) as reader:
            topics = {connection.topic for connection in reader.connections}
        return sorted(topics - set(self._mapping.topics))

    def _instruction(self, rows: Rows) -> str:
        text = self._mapping.instruction
        return (text if isinstance(text, str) else rows.text) or self.path.absolute().name

    def _notes(self, names: Sequence[str]) -> Iterator[str]:
        """What a user has to know about times, each once for all bags."""
        if self._mapping.instruction is None:
            yield f"there is no instruction: {self.path.absolute().name!r} is used"
        met = list(zip(names, (rows.alignment for rows in self._rows), strict=True))
        if early := [name for name, each in met if each.early]:
            count = sum(each.early for _, each in met)
            yield (
                f"{counted(count, 'message')} of the clock before some topic's first one, in "
                f"{first_of(early, _MAX_SHOWN)}: left out"
            )
        if doubled := [name for name, each in met if each.doubled]:
            yield (
                "messages of the clock with the time of the next one, in "
                f"{first_of(doubled, _MAX_SHOWN)}: left out"
            )
        for topic in self._mapping.topics:
            yield from self._notes_of(topic, names)

    def _notes_of(self, topic: str, names: Sequence[str]) -> Iterator[str]:
        met = [rows.alignment for rows in self._rows]
        old = [
            (name, each.old[topic])
            for name, each in zip(names, met, strict=True)
            if topic in each.old
        ]
        if old:
            name, first = old[0]
            rows = sum(each.rows for _, each in old)
            yield (
                f"{topic} stops: {counted(rows, 'row')} with an old message, up to "
                f"{max(each.seconds for _, each in old):.2g} s; the first is row {first.first} of "
                f"{name}"
            )
        if any(topic in each.empty_headers for each in met):
            yield f"{topic} has headers without a time: it goes by the time of the log"
        if apart := [each.apart[topic] for each in met if topic in each.apart]:
            yield (
                f"{topic}: its headers and the log are {apart[0]:.3g} s apart; if clocks differ, "
                "add its topics to log_time"
            )


def _with_action_names(spec: Spec, names: tuple[str, ...]) -> Spec:
    return replace(spec, action=replace(spec.action, names=names))


def _episode_name(bag: Path) -> str:
    return bag.stem if bag.is_file() else bag.name


def _refuse(what: str, episode: str | None = None) -> None:
    raise UserError(f"{what}; correct the recording, or take {episode} out of the folder")
