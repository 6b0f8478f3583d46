"""Decide which episodes of a LeRobotDataset are read, from which rows and with which task."""

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
    """The episodes that are read."""

    kept: list[int]
    """Their positions in the metadata."""
    tasks: np.ndarray
    """int64 (n,), their positions in the table of tasks."""
    lost: Mapping[str, str]
    """All other episodes by name, and why they are not read."""
    parts: list[Sequence[EpisodeRows]] | None = None
    """Their rows; None: these are searched when an episode is read."""
    files: Sequence[DataFile] = ()
    """The content of the data files that hold their rows."""
    notes: Sequence[str] = ()
    """Notes for users."""


@dataclass
class _Files:
    """The data files of a dataset."""

    readable: dict[Path, DataFile] = field(default_factory=dict)
    """The files that can be read, and their content."""
    torn: dict[Path, str] = field(default_factory=dict)
    """The files that cannot be read, and why."""
    starts: dict[Path, int] = field(default_factory=dict)
    """The first row of each file among those of all, in the order in which LeRobot joins them."""
    parts: dict[int, list[EpisodeRows]] = field(default_factory=dict)
    """The rows of each episode by its number."""


def find_episodes(path: Path, metadata: Metadata, plan: Plan, complain: Complain) -> SearchResult:
    """Find all episodes of a dataset on this disk.

    Args:
        path: the dataset's folder.
        metadata: its metadata.
        plan: how features are read.
        complain: called for episodes of which a file is torn or missing.

    Raises:
        UserError: if no episode can be read.
    """
    files = _read_files(path, metadata)
    reasons = metadata_faults(metadata, plan)
    broken = dict(_broken(metadata, plan, files))
    copied = _drop_copies(metadata, files)
    is_v2 = str(metadata.info["codebase_version"]).startswith("v2.")  # each episode is a file
    files_of = set(metadata.data_files)
    has_videos = any(feature in metadata.videos for feature in plan.cameras.values())
    task_of_rows: dict[int, int | None] = {}
    for position, number in enumerate(metadata.numbers.tolist()):
        rows = files.parts.get(number, [])
        why = why_untrusted(rows, int(metadata.lengths[position]))
        if why is None and is_v2 and has_videos:
            why = _why_wrong_file(rows, files_of - {metadata.data_files[position]})
        if why and position not in broken:
            reasons.setdefault(position, why)
        if (first := first_task(rows)) is not None:
            task_of_rows[position] = metadata.tasks.positions.get(first)
    kept, tasks, lost = resolve_episodes(path, metadata, {**reasons, **broken}, task_of_rows)
    for position, why in broken.items():
        complain(why, str(metadata.numbers[position]))
    unlisted = sorted(files.parts.keys() - set(metadata.numbers.tolist()))
    lost |= {str(number): "meta/episodes does not list it" for number in unlisted}
    parts: list[Sequence[EpisodeRows]] = [
        files.parts[int(metadata.numbers[position])] for position in kept
    ]
    notes = [*_notes_of_positions(metadata, files, kept), *_notes_of_torn(metadata, files)]
    if copied:
        notes.append(
            f"episodes that a second file has, too: {first_numbers(copied)}; "
            "the one that metadata names is read"
        )
    used: dict[Path, None] = {}
    for rows in parts:
        used |= dict.fromkeys(part.file for part in rows)
    return SearchResult(kept, tasks, lost, parts, [files.readable[file] for file in used], notes)


def metadata_faults(metadata: Metadata, plan: Plan) -> dict[int, str]:
    """Decide which episodes are wrong by metadata alone.

    Args:
        metadata: the dataset's metadata.
        plan: how the features are read; the videos of its cameras are checked.

    Returns:
        The position of each such episode in the metadata, and why it is wrong.
    """
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
    path: Path,
    metadata: Metadata,
    reasons: Mapping[int, str],
    task_of_rows: Mapping[int, int | None],
) -> tuple[list[int], np.ndarray, dict[str, str]]:
    """Choose the episodes that are read.

    Args:
        path: the dataset's folder.
        metadata: its metadata.
        reasons: positions of episodes that cannot be read, and why.
        task_of_rows: the task of an episode's first row by its position, where it is known.

    Returns:
        The positions of the episodes that are read, their tasks as int64 (n,), and why the others
        are left out, by name.

    Raises:
        UserError: if none is left.
    """
    reasons, tasks = dict(reasons), {}
    for position in range(len(metadata.numbers)):
        if position not in reasons:
            task = choose_task(metadata.listed[position], task_of_rows.get(position))
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
    """The rows of each episode in a file.

    A file without episode_index is divided into the episodes that metadata lists for it.

    Args:
        metadata: the dataset's metadata.
        file: the parquet file.
        data: its content.

    Returns:
        The rows by episode_index.

    Raises:
        UserError: if these have another number of rows than the file.
    """
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


def _read_files(path: Path, metadata: Metadata) -> _Files:
    """Find the episodes of all parquet files below data/, and of others that metadata names."""
    below = {
        file
        for file in files_below(path / _DATA)
        if file.suffix == ".parquet" and file.name[0] != "."
    }
    files, start = _Files(), 0
    elsewhere = {file for file in set(metadata.data_files) - below if file.is_file()}
    for file in sorted(below | elsewhere):
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


def _why_wrong_file(parts: Sequence[EpisodeRows], of_others: Collection[Path]) -> str | None:
    """Why rows are in the wrong file in version 2, where each file is one episode; None if not.

    If the file is that of another episode than the rows' episode_index says, it is unknown which
    of the two episodes the video shows.
    """
    wrong = [part.file for part in parts if part.file in of_others]
    return f"its rows are in the file of another episode, {wrong[0].name}" if wrong else None


def _drop_copies(metadata: Metadata, files: _Files) -> list[int]:
    """Drop rows that a second file repeats, if those in the file that metadata names are right.

    Returns:
        The numbers of the episodes concerned.
    """
    copied = []
    for position, number in enumerate(metadata.numbers.tolist()):
        parts, length = files.parts.get(number, []), int(metadata.lengths[position])
        if len(parts) > 1 and why_untrusted(parts, length):
            in_file = [part for part in parts if part.file == metadata.data_files[position]]
            if why_untrusted(in_file, length) is None:
                files.parts[number] = in_file
                copied.append(number)
    return copied


def _broken(metadata: Metadata, plan: Plan, files: _Files) -> Iterable[tuple[int, str]]:
    """Positions of the episodes of which a file is torn or missing, and why."""
    for position, number in enumerate(metadata.numbers.tolist()):
        file = metadata.data_files[position]
        if number not in files.parts and file not in files.readable:
            yield position, files.torn.get(file, f"{file} is missing")
    for feature, videos in metadata.videos.items():
        if feature not in plan.cameras.values():
            continue
        video_files = {video.file for video in videos if video is not None}
        missing = {file for file in video_files if not file.is_file()}
        for position, video in enumerate(videos):
            if video is not None and video.file in missing:
                yield position, f"{video.file} is missing"


def _notes_of_positions(metadata: Metadata, files: _Files, kept: Sequence[int]) -> Iterable[str]:
    """Notes on episodes that are not where metadata says, and on missing numbers."""
    stale = []
    for position in kept:
        (first, *more) = files.parts[int(metadata.numbers[position])]
        begin = None if metadata.first_rows is None else int(metadata.first_rows[position])
        elsewhere = begin is not None and begin != files.starts[first.file] + first.start
        if more or first.file != metadata.data_files[position] or elsewhere:
            stale.append(int(metadata.numbers[position]))
    if stale:
        yield (
            f"episodes elsewhere than meta/episodes says: {first_numbers(stale)}; "
            "their rows' episode_index was followed"
        )
    if absent := missing_numbers(metadata.numbers):
        yield f"missing episode numbers: {first_numbers(absent)}; the others keep their own"


def _notes_of_torn(metadata: Metadata, files: _Files) -> Iterable[str]:
    for file, why in files.torn.items():
        if file not in metadata.data_files:
            yield f"a file that metadata lists for no episode is left out: {why}"
