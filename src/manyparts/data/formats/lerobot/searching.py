"""Which episodes of a LeRobotDataset are read, from which rows, with which task; and why others are
not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import Complain
from manyparts.data.formats.files import files_below
from manyparts.data.formats.lerobot.features import Plan
from manyparts.data.formats.lerobot.locating import (
    DataFile,
    EpisodeRows,
    first_task,
    read_data_file,
    why_untrusted,
)
from manyparts.data.formats.lerobot.metadata import Metadata, first_numbers, missing_numbers
from manyparts.data.formats.lerobot.tasks import choose_task
from manyparts.data.formats.lerobot.videos import overlapping

_DATA = "data"


@dataclass(frozen=True)
class SearchResult:
    """kept: positions in the metadata of the episodes that are read. tasks: int64 (n,), theirs in
    the table of tasks. lost: all other episodes by their name, and why. parts: the rows of those
    that are read; None: looked for when they are read. files: what each data file holds in which
    rows lie. notes: instructions for people."""

    kept: list[int]
    tasks: np.ndarray
    lost: Mapping[str, str]
    parts: list[Sequence[EpisodeRows]] | None = None
    files: Sequence[DataFile] = ()
    notes: Sequence[str] = ()


@dataclass
class _Files:
    """The data files that are there. torn: those that cannot be read, and why. starts: each one's
    first row among those of all, in the order in which LeRobot joins them. parts: an episode's
    rows, by its number."""

    readable: dict[Path, DataFile] = field(default_factory=dict)
    torn: dict[Path, str] = field(default_factory=dict)
    starts: dict[Path, int] = field(default_factory=dict)
    parts: dict[int, list[EpisodeRows]] = field(default_factory=dict)


def find_episodes(path: Path, metadata: Metadata, plan: Plan, complain: Complain) -> SearchResult:
    """Find all episodes of a dataset on this disk. complain: is told of episodes of which a file is
    torn or missing.

    Raises UserError if no episode can be read.
    """
    files = _look_into_all(path, metadata)
    reasons = metadata_faults(metadata, plan)
    broken = dict(_broken(metadata, plan, files))
    copied = _without_copies(metadata, files)
    an_episode_a_file = str(metadata.info["codebase_version"]).startswith("v2.")
    files_of = set(metadata.data_files)
    filmed = any(feature in metadata.videos for feature in plan.cameras.values())
    for position, number in enumerate(metadata.numbers.tolist()):
        rows = files.parts.get(number, [])
        why = why_untrusted(rows, int(metadata.lengths[position]))
        if why is None and an_episode_a_file and filmed:
            why = _doubt_of_file(rows, files_of - {metadata.data_files[position]})
        if why and position not in broken:
            reasons.setdefault(position, why)

    of_rows = {
        position: metadata.tasks.positions.get(first)
        for position, number in enumerate(metadata.numbers.tolist())
        if (first := first_task(files.parts.get(number, ()))) is not None
    }
    kept, tasks, lost = resolve_episodes(path, metadata, {**reasons, **broken}, of_rows)
    for position, why in broken.items():
        complain(why, str(metadata.numbers[position]))
    unlisted = sorted(files.parts.keys() - set(metadata.numbers.tolist()))
    lost |= {str(number): "meta/episodes does not list it" for number in unlisted}
    parts: list[Sequence[EpisodeRows]] = [
        files.parts[int(metadata.numbers[position])] for position in kept
    ]
    notes = [*_notes_of_places(metadata, files, kept), *_notes_of_torn(metadata, files)]
    if copied:
        notes.append(
            f"episodes that a second file has, too: {first_numbers(copied)}; the one that metadata names is read"
        )
    used = dict.fromkeys(part.file for each in parts for part in each)
    return SearchResult(kept, tasks, lost, parts, [files.readable[file] for file in used], notes)


def metadata_faults(metadata: Metadata, plan: Plan) -> dict[int, str]:
    """Positions of the episodes that metadata alone shows to be wrong, and why."""
    reasons = {
        position: metadata.lost[number]
        for position, number in enumerate(metadata.numbers)
        if number in metadata.lost
    }
    for camera, feature in plan.cameras.items():
        videos = metadata.videos.get(feature, [])
        for position in (position for position, video in enumerate(videos) if video is None):
            reasons.setdefault(position, f"it has no video of {camera}")
        for position in overlapping(videos, metadata.lengths, metadata.fps):
            reasons.setdefault(position, f"its frames of {camera} are those of another episode too")
    return reasons


def resolve_episodes(
    path: Path, metadata: Metadata, reasons: Mapping[int, str], of_rows: Mapping[int, int | None]
) -> tuple[list[int], np.ndarray, dict[str, str]]:
    """The episodes that nothing speaks against, the task of each, and why the others are left out.

    of_rows: the task of an episode's first row, as far as it is known. Raises UserError if none is
    left.
    """
    reasons, tasks = dict(reasons), {}
    for position in range(len(metadata.numbers)):
        if position not in reasons:
            task = choose_task(metadata.listed[position], of_rows.get(position))
            if task is None:
                reasons[position] = "its task is not in meta/tasks"
            else:
                tasks[position] = task
    if not tasks:
        position, why = min(reasons.items())
        raise UserError(
            f"{path} holds no episode that can be read; episode {metadata.numbers[position]}: {why}"
        )
    lost = {str(metadata.numbers[position]): why for position, why in sorted(reasons.items())}
    return list(tasks), np.asarray(list(tasks.values()), dtype=np.int64), lost


def episodes_in(metadata: Metadata, file: Path, data: DataFile) -> Mapping[int, EpisodeRows]:
    """The rows of each episode in a file. Where it has no episode_index: of those that metadata
    names it for, one after the other. Raises UserError if these do not count as many rows."""
    if data.episodes is not None:
        return data.episodes
    parts, stop = {}, 0
    for position, named_file in enumerate(metadata.data_files):
        if named_file == file:
            start, stop = stop, stop + int(metadata.lengths[position])
            parts[int(metadata.numbers[position])] = EpisodeRows(file, start, stop)
    if stop != data.count:
        raise UserError(f"{file} has {data.count} rows; meta/episodes counts {stop}")
    return parts


def _look_into_all(path: Path, metadata: Metadata) -> _Files:
    """All parquet files below data/, and others that metadata names."""
    below = {
        file
        for file in files_below(path / _DATA)
        if file.suffix == ".parquet" and file.name[0] != "."
    }
    files, start = _Files(), 0
    for file in sorted(
        below | {file for file in set(metadata.data_files) - below if file.is_file()}
    ):
        try:
            data = read_data_file(file)
            episodes = episodes_in(metadata, file, data)
        except UserError as error:
            files.torn[file] = str(error)
            continue
        files.readable[file], files.starts[file] = data, start
        start += data.count
        for number, part in episodes.items():
            files.parts.setdefault(number, []).append(part)
    return files


def _doubt_of_file(parts: Sequence[EpisodeRows], of_others: Collection[Path]) -> str | None:
    """Why rows cannot be of an episode, by their file. In version 2 a file is an episode; where it
    is that of another than the rows' episode_index says, nothing tells which of the two the film is
    of."""
    wrong = [part.file for part in parts if part.file in of_others]
    return f"its rows are in the file of another episode, {wrong[0].name}" if wrong else None


def _without_copies(metadata: Metadata, files: _Files) -> list[int]:
    """Drop rows of an episode that lie elsewhere too, where those in the file that metadata names
    are right; and tell which episodes these are."""
    copied = []
    for position, number in enumerate(metadata.numbers.tolist()):
        parts, length = files.parts.get(number, []), int(metadata.lengths[position])
        if len(parts) > 1 and why_untrusted(parts, length):
            own = [part for part in parts if part.file == metadata.data_files[position]]
            if why_untrusted(own, length) is None:
                files.parts[number] = own
                copied.append(number)
    return copied


def _broken(metadata: Metadata, plan: Plan, files: _Files) -> Iterable[tuple[int, str]]:
    """Positions of the episodes of which a file is torn or missing, and why."""
    for position, number in enumerate(metadata.numbers.tolist()):
        if (
            number not in files.parts
            and (named_file := metadata.data_files[position]) not in files.readable
        ):
            yield position, files.torn.get(named_file, f"{named_file} is missing")
    for videos in (
        videos for feature, videos in metadata.videos.items() if feature in plan.cameras.values()
    ):
        there = {
            file: file.is_file() for file in {video.file for video in videos if video is not None}
        }
        for position, video in enumerate(videos):
            if video is not None and not there[video.file]:
                yield position, f"{video.file} is missing"


def _notes_of_places(metadata: Metadata, files: _Files, kept: Sequence[int]) -> Iterable[str]:
    stale = []
    for position in kept:
        (first, *more) = files.parts[int(metadata.numbers[position])]
        begin = None if metadata.first_rows is None else int(metadata.first_rows[position])
        elsewhere = begin is not None and begin != files.starts[first.file] + first.start
        if more or first.file != metadata.data_files[position] or elsewhere:
            stale.append(int(metadata.numbers[position]))
    if stale:
        yield f"episodes elsewhere than meta/episodes says: {first_numbers(stale)}; their rows' episode_index was followed"
    if absent := missing_numbers(metadata.numbers):
        yield f"missing episode numbers: {first_numbers(absent)}; the others keep their own"


def _notes_of_torn(metadata: Metadata, files: _Files) -> Iterable[str]:
    for file, why in files.torn.items():
        if file not in metadata.data_files:
            yield f"a file that no episode is said to be in is left out: {why}"
