"""The TFRecord files of an RLDS dataset by split, and which of them are missing."""

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
# "-00000-of-00005" stands before or after the ending .tfrecord.
_OF = r"(?:-(?P<number{0}>\d+)-of-(?P<count{0}>\d+))?"
_SHARD = re.compile(
    rf"(?:(?P<dataset>.+?)-)?(?P<split>[^-]+?){_OF.format('')}\.tfrecords?(?:\.gz)?"
    rf"{_OF.format('_after')}(?:\.gz)?"
)
_MAX_SHOWN = 3


@dataclass(frozen=True)
class Record:
    """One episode."""

    shard: TFRecordFile
    """The file that holds it."""
    number: int
    """Its index in the file."""
    name: str
    """Its index in its split; the split's name stands before it if there are several."""


@dataclass(frozen=True)
class Shards:
    """The files and episodes of all splits, in the order of the files' names."""

    files: tuple[TFRecordFile, ...]
    """All files."""
    records: tuple[Record, ...]
    """All episodes that can be found."""
    name: str = ""
    """The dataset's name; "" if it is not stored."""
    torn: tuple[tuple[str, str], ...] = ()
    """What is wrong with a file, and the name of its first episode that cannot be read."""
    notes: tuple[str, ...] = ()
    """Notes for users: which splits are joined, and what is missing."""


@dataclass
class _Split:
    """The files of one split."""

    name: str
    expected: list[int] | None
    """Episodes in each shard, by dataset_info.json."""
    shards: list[tuple[TFRecordFile, int | None]] = field(default_factory=list)
    """The files with their numbers; None: the name has no number."""
    counts: set[int] = field(default_factory=set)
    """How many shards there are, by the files' names."""

    def episodes(self) -> int:
        return sum(len(file) for file, _ in self.shards)


def read_shards(folder: Path) -> Shards:
    """Find the TFRecord files of a folder.

    Raises:
        UserError: if there are none, or files of two conversions of one split.
    """
    info, splits, notes = {}, {}, []
    if (folder / _INFO).is_file():
        try:
            with format_errors(folder / _INFO, "RLDS"):
                info = read_json(folder / _INFO)
                splits = {split.name: split for split in _expected(info)}
        except UserError as error:
            notes.append(f"{error}; whether episodes are missing is not known")
    _add_files(folder, splits)
    present = sorted(
        (split for split in splits.values() if split.shards),
        key=lambda split: split.shards[0][0].path,
    )
    if not present:
        raise _no_shards(folder, str(info.get("fileFormat") or "tfrecord"))
    records, torn = _records(present)
    notes += _joined(present)
    for split in splits.values():
        notes += _missing(split)
    files: list[TFRecordFile] = []
    for split in present:
        files += [file for file, _ in split.shards]
    name = str(info.get("name") or "")
    return Shards(tuple(files), tuple(records), name, tuple(torn), tuple(notes))


def _add_files(folder: Path, splits: dict[str, _Split]) -> None:
    """Add a folder's files to the splits that their names say."""
    for path in sorted(folder.iterdir()):
        match = _SHARD.fullmatch(path.name)
        if match is None or path.name.startswith(".") or ".incomplete" in path.name:
            continue
        if not path.is_file():
            continue
        number = match["number"] or match["number_after"]
        count = match["count"] or match["count_after"]
        name = match["split"] if count or match["split"] in splits else ""
        split = splits.setdefault(name, _Split(name, None))
        split.shards.append((TFRecordFile(path), int(number) if count else None))
        if count:
            split.counts.add(int(count))


def _records(splits: Sequence[_Split]) -> tuple[list[Record], list[tuple[str, str]]]:
    """All episodes, and for each torn file what is wrong and the name of its first lost episode."""
    records, torn = [], []
    for split in splits:
        prefix = f"{split.name} " if len(splits) > 1 else ""
        number = 0  # of the episode in its split
        for file, _ in split.shards:
            for index in range(len(file)):
                records.append(Record(file, index, f"{prefix}{number + index}"))
            number += len(file)
            if file.torn:
                torn.append((file.torn, f"{prefix}{number}"))
                number += 1  # for the episode that is lost
    return records, torn


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
        f"the splits {counted} are read as one dataset; to keep one apart, make two folders, "
        "each with features.json and the files of one split"
    ]


def _episodes(count: int) -> str:
    return f"{count} episode" + "s" * (count != 1)


def _missing(split: _Split) -> Iterator[str]:
    """Notes on files and episodes of a split that are missing."""
    if len(split.counts) > 1:
        counts = " and ".join(f"-of-{count:05d}" for count in sorted(split.counts))
        where = f"{split.shards[0][0].path.parent} has files of two conversions of {split.name}"
        raise UserError(f"{where}: {counts}; move those of one away")
    if not split.shards:
        if split.expected and sum(split.expected):
            yield f"the split {split.name} is missing, with {_episodes(sum(split.expected))}"
        return
    present = {number: file for file, number in split.shards if number is not None}
    count = next(iter(split.counts), 0)
    lengths = split.expected if split.expected and len(split.expected) == count else None
    missing = [
        number
        for number in range(count)
        if number not in present and (lengths is None or lengths[number])
    ]
    if missing:
        shown = ", ".join(f"{number:05d}" for number in missing[:_MAX_SHOWN])
        shown += ", ..." if len(missing) > _MAX_SHOWN else ""
        episodes = ""
        if lengths:
            lost = sum(lengths[number] for number in missing)
            episodes = f", with {lost} of {sum(lengths)} episodes"
        are = "is" if len(missing) == 1 else "are"
        yield (
            f"{len(missing)} of {count} files of {split.name} {are} missing "
            f"(number {shown}){episodes}"
        )
    for number, file in present.items():
        if file.torn:
            continue
        counted = lengths[number] if lengths and number < count else len(file)
        if len(file) != counted:
            yield (
                f"{file.path.name} holds {len(file)} of the {counted} episodes that {_INFO} counts"
            )
        elif lengths is None and not len(file):
            yield f"{file.path.name} is empty"
