"""The TFRecord files of an RLDS dataset: which splits they belong to, and which that should be
there are missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import UnsupportedFormatError, format_errors, read_json
from manyparts.data.formats.tfrecord import TFRecordFile

_INFO = "dataset_info.json"
_OF = r"(?:-(?P<number{0}>\d+)-of-(?P<count{0}>\d+))?"
_SHARD = re.compile(
    rf"(?:(?P<dataset>.+?)-)?(?P<split>[^-]+?){_OF.format('')}\.tfrecords?(?:\.gz)?{_OF.format('_after')}(?:\.gz)?"
)
_SHOWN = 3


@dataclass(frozen=True)
class Record:
    """One episode. name: its number in its split, with the split's name before it where there are
    several."""

    shard: TFRecordFile
    number: int
    name: str


@dataclass(frozen=True)
class Shards:
    """The records of all splits, in the order of the files' names. name: the dataset's, "" where
    nothing gives it. torn: what is wrong with a file, and the name of the first record that cannot
    be read for it. notes: which splits are joined, and what is missing."""

    files: tuple[TFRecordFile, ...]
    records: tuple[Record, ...]
    name: str = ""
    torn: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Split:
    name: str
    expected: list[int] | None  # episodes in each shard, as dataset_info.json counts them
    shards: list[tuple[TFRecordFile, int | None]] = field(default_factory=list)  # with its number
    counts: set[int] = field(default_factory=set)  # how many shards the files' names say there are

    def episodes(self) -> int:
        return sum(len(file) for file, _ in self.shards)


def read_shards(folder: Path) -> Shards:
    """Raises UserError if there are none, or two different writings of one split."""
    info, splits, notes = {}, {}, []
    if (folder / _INFO).is_file():
        try:
            with format_errors(folder / _INFO, "RLDS"):
                info = read_json(folder / _INFO)
                splits = {split.name: split for split in _expected(info)}
        except UserError as error:
            notes.append(f"{error}; whether episodes are missing is not known")
    for path in sorted(folder.iterdir()):
        match = _SHARD.fullmatch(path.name)
        if (
            match is None
            or path.name.startswith(".")
            or ".incomplete" in path.name
            or not path.is_file()
        ):
            continue
        number, count = (
            match["number"] or match["number_after"],
            match["count"] or match["count_after"],
        )
        name = match["split"] if count or match["split"] in splits else ""
        split = splits.setdefault(name, _Split(name, None))
        split.shards.append((TFRecordFile(path), int(number) if count else None))
        split.counts |= {int(count)} if count else set()
    present = sorted(
        (split for split in splits.values() if split.shards),
        key=lambda split: split.shards[0][0].path,
    )
    if not present:
        raise _no_shards(folder, str(info.get("fileFormat") or "tfrecord"))
    records, torn = [], []
    for split in present:
        number = 0
        for file, _ in split.shards:
            prefix = f"{split.name} " if len(present) > 1 else ""
            records += [
                Record(file, index, f"{prefix}{number + index}") for index in range(len(file))
            ]
            number += len(file)
            if file.torn:
                torn.append((file.torn, f"{prefix}{number}"))
                number += 1  # for the episode that is lost
    notes += [*_joined(present), *(note for split in splits.values() for note in _missing(split))]
    files = tuple(file for split in present for file, _ in split.shards)
    return Shards(files, tuple(records), str(info.get("name") or ""), tuple(torn), tuple(notes))


def _expected(info: Mapping[str, Any]) -> Iterator[_Split]:
    for split in info.get("splits", ()):
        lengths = split.get("shardLengths")
        yield _Split(str(split["name"]), [int(length) for length in lengths] if lengths else None)


def _no_shards(folder: Path, stored: str) -> UserError:
    what = f"{folder} has features.json but no .tfrecord files"
    if stored == "tfrecord":
        return UserError(what)
    return UnsupportedFormatError(
        f"{what}: its fileFormat is {stored}", "write it as tfrecord with TensorFlow Datasets"
    )


def _joined(splits: Sequence[_Split]) -> list[str]:
    if len(splits) < 2:
        return []
    counted = ", ".join(f"{split.name} ({_episodes(split.episodes())})" for split in splits)
    return [
        f"the splits {counted} are read as one dataset; to hold one apart, make two folders, each with features.json "
        "and the files of one split"
    ]


def _episodes(count: int) -> str:
    return f"{count} episode" + "s" * (count != 1)


def _missing(split: _Split) -> Iterator[str]:
    """What should be there of a split, and is not."""
    if len(split.counts) > 1:
        counts = " and ".join(f"-of-{count:05d}" for count in sorted(split.counts))
        where = f"{split.shards[0][0].path.parent} has files of two writings of {split.name}"
        raise UserError(f"{where}: {counts}; move those of one away")
    if not split.shards:
        if split.expected and sum(split.expected):
            yield f"the split {split.name} is missing, with {_episodes(sum(split.expected))}"
        return
    present = {number: file for file, number in split.shards if number is not None}
    wanted = next(iter(split.counts), 0)
    lengths = split.expected if split.expected and len(split.expected) == wanted else None
    if gone := [
        number
        for number in range(wanted)
        if number not in present and (lengths is None or lengths[number])
    ]:
        shown = ", ".join(f"{number:05d}" for number in gone[:_SHOWN]) + (
            ", ..." if len(gone) > _SHOWN else ""
        )
        episodes = (
            f", with {sum(lengths[number] for number in gone)} of {sum(lengths)} episodes"
            if lengths
            else ""
        )
        are = "is" if len(gone) == 1 else "are"
        yield f"{len(gone)} of {wanted} files of {split.name} {are} missing (number {shown}){episodes}"
    for number, file in present.items():
        if not file.torn and len(file) != (
            counted := lengths[number] if lengths and number < wanted else len(file)
        ):
            yield f"{file.path.name} holds {len(file)} of the {counted} episodes that {_INFO} counts"
        elif lengths is None and not len(file) and not file.torn:
            yield f"{file.path.name} is empty"
