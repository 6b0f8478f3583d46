"""Read the meta folder of a LeRobotDataset: versions 2.0, 2.1 and 3.0 give the same record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from manyparts.core.columns import SUCCESS, TERMINATED
from manyparts.core.errors import UserError
from manyparts.core.naming import own_entry
from manyparts.core.printing import first_of
from manyparts.data.formats.dataset_description import read_tasks
from manyparts.data.formats.errors import (
    Complain,
    UnsupportedFormatError,
    format_errors,
    read_json,
    refuse,
)
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.episode_table import episode_table
from manyparts.data.formats.lerobot.stored_statistics import old_statistics, stored_statistics
from manyparts.data.formats.lerobot.subtasks import Spans, read_spans
from manyparts.data.formats.lerobot.tasks import TaskTable, own_tasks, read_lines, read_table
from manyparts.data.formats.lerobot.values import (
    Columns,
    rate,
    read_json_lines,
    whole_number,
    whole_numbers,
)
from manyparts.data.formats.lerobot.videos import Video, locate_videos
from manyparts.embodiment.statistics import Statistics

VERSIONS = ("v2.0", "v2.1", "v3.0")
_OLD_EPISODES = "meta/episodes.jsonl"
_FLAGS = tuple(f"stats/{name}/max" for name in (SUCCESS, TERMINATED))  # of each episode
_KNOWN_COLUMNS = ("episode_index", "tasks", "length", "task_index", "seed", "noisy")
_KNOWN_PREFIXES = ("data/", "videos/", "meta/", "stats/", "dataset_")
_MAX_SHOWN = 5
_MAX_TEMPLATE = 500  # characters
# A format may ask for a width of any size, which would take that much memory.
_FIELD = re.compile(r"\{[a-z_]+(?::\d{1,2}d)?\}")
_MAX_MISSING = 10**6


@dataclass(frozen=True)
class Metadata:
    """The content of the meta folder. Lists and arrays have one entry per episode."""

    info: Mapping[str, Any]
    """info.json."""
    fps: float
    """Frames per second."""
    statistics: Statistics
    """The stored statistics, by LeRobot's names."""
    tasks: TaskTable
    """All tasks."""
    numbers: np.ndarray
    """int64 (n,), episode_index as it was recorded."""
    lengths: np.ndarray
    """int64 (n,), frames per episode."""
    listed: list[tuple[int, ...]]
    """The tasks of each episode, as positions in `tasks.entries`; -1 for an unknown task."""
    data_files: list[Path]
    """The parquet file of each episode."""
    first_rows: np.ndarray | None
    """int64 (n,), the episode's first row among those of all files; None before version 3."""
    videos: Mapping[str, list[Video | None]]
    """The videos of each video feature; None for an episode that has none."""
    seeds: np.ndarray | None = None
    """int64 (n,), reset seeds, where manyparts wrote the dataset."""
    noisy: np.ndarray | None = None
    """bool (n,), see `Contents.noisy`."""
    succeeded: np.ndarray | None = None
    """bool (n,), whether each episode succeeded, if that is stored for all."""
    terminated: np.ndarray | None = None
    """bool (n,), whether each episode ended for good, if that is stored for all."""
    last_files: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(chunk, file) numbers of the last episode by kind of file, where manyparts wrote them."""
    spans: Mapping[str, list[Spans | None]] = field(default_factory=dict)
    """Texts of ranges of rows that meta/episodes has, by column; None for an episode without."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """What of meta/ is not read, and why."""
    lost: Mapping[int, str] = field(default_factory=dict)
    """Episodes by their number that are wrong by metadata alone, and why."""
    stale: str | None = None
    """Why the statistics are not those of all episodes; None if they are."""

    def only(self, kept: Sequence[int]) -> Metadata:
        """The metadata of some episodes, by their positions."""
        positions = list(kept)

        def select(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[positions]

        return replace(
            self,
            numbers=self.numbers[positions],
            lengths=self.lengths[positions],
            first_rows=select(self.first_rows),
            seeds=select(self.seeds),
            noisy=select(self.noisy),
            succeeded=select(self.succeeded),
            terminated=select(self.terminated),
            listed=[self.listed[index] for index in positions],
            data_files=[self.data_files[index] for index in positions],
            videos={
                name: [videos[index] for index in positions] for name, videos in self.videos.items()
            },
            spans={
                name: [spans[index] for index in positions] for name, spans in self.spans.items()
            },
        )


def read_metadata(path: Path, complain: Complain = refuse) -> Metadata:
    """Read and check the meta folder.

    Args:
        path: the dataset's folder.
        complain: called for counts that disagree.

    Raises:
        UserError: naming the file that is missing, torn, or disagrees with another.
    """
    if not path.is_dir():
        raise UserError(f"no dataset at {path}")
    info = read_json(path / layout.INFO)
    version = str(info.get("codebase_version"))
    if version not in VERSIONS:
        raise UnsupportedFormatError(
            f"{path / layout.INFO} has codebase_version {version}",
            f"can be read: {', '.join(VERSIONS)}; convert it with LeRobot's own scripts",
        )
    if str(info.get("storage_format")).lower() == "lance":
        raise UnsupportedFormatError(
            f"{path} is a LeRobotDataset in Lance storage, which is not read yet",
            "write it in LeRobot's parquet storage",
        )
    with format_errors(path / "meta", version):
        if not isinstance(info["features"], Mapping):
            raise UserError(f"{path / layout.INFO}: features is no object")
        metadata = (_read_v3 if version.startswith("v3.") else _read_v2)(path, info)
        _check_counts(path, metadata, complain)
        repeated = {
            int(number): "meta/episodes lists it twice" for number in _repeated(metadata.numbers)
        }
        without_files = [
            name
            for name, item in info["features"].items()
            if _is_video(item) and name not in metadata.videos
        ]
        left_out = dict.fromkeys(without_files, "meta/ does not say in which files its videos are")
        return replace(metadata, lost=repeated, left_out={**metadata.left_out, **left_out})


def inside(path: Path, name: str) -> Path:
    """The path of a file by its name in the dataset. Raises UserError if it leads outside."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise UserError(f"{path} names a file outside of itself: {name!r}")
    return path / parts


def named_file(path: Path, template: str, **parts: Any) -> Path:
    """The path of a file by the template of info.json, which a stranger may have written.

    Raises:
        UserError: it leads outside, is too long, or formats anything but names and short numbers.
    """
    if len(template) > _MAX_TEMPLATE or set(_FIELD.sub("", template)) & set("{}"):
        shown = template[:_MAX_TEMPLATE]
        raise UserError(f"{path / layout.INFO} names files by {shown!r}; expected {layout.DATA!r}")
    return inside(path, template.format(**parts))


def first_numbers(numbers: Sequence[int] | np.ndarray) -> str:
    """The first five episode numbers, and how many more there are."""
    return first_of(sorted(map(int, numbers)), _MAX_SHOWN)


def missing_numbers(numbers: np.ndarray) -> list[int]:
    """The numbers from 0 to the last episode's that no episode has, the first million of them."""
    if not len(numbers):
        return []
    stop = min(int(numbers.max()) + 1, len(numbers) + _MAX_MISSING)
    return np.setdiff1d(np.arange(stop), numbers).tolist()


def _read_v3(path: Path, info: Mapping[str, Any]) -> Metadata:
    own = own_entry(info) or {}  # what manyparts wrote
    episodes = Columns(episode_table(path, statistics=_FLAGS), path / layout.EPISODES_FOLDER)
    numbers, lengths = episodes.integers("episode_index"), episodes.integers("length")
    task_names = episodes["tasks"] if "tasks" in episodes else [None] * len(numbers)
    tasks = own_tasks(read_tasks(own["tasks"])) if own else read_table(path, task_names)
    if own and "task_index" in episodes:
        indices = episodes.integers("task_index").tolist()
        listed = [(index,) if 0 <= index < len(tasks.entries) else (-1,) for index in indices]
    else:
        listed = [tasks.listed(names) for names in task_names]
    videos = _videos_v3(path, info, episodes, lengths)
    statistics, stale = stored_statistics(path)
    unknown = [
        name
        for name in episodes.names
        if name not in _KNOWN_COLUMNS and not name.startswith(_KNOWN_PREFIXES)
    ]
    spans, in_spans = read_spans(episodes, numbers)
    first_row = "dataset_from_index"
    data_files = [episodes[f"data/{part}_index"] for part in ("chunk", "file")]
    kinds = ["data", *(f"videos/{name}" for name in videos), "meta/episodes"]
    return Metadata(
        info=info,
        fps=rate(info, "fps", path / layout.INFO),
        statistics=statistics,
        stale=stale,
        tasks=tasks,
        numbers=numbers,
        lengths=lengths,
        listed=listed,
        data_files=_numbered_files(path, info["data_path"], data_files, "data"),
        first_rows=episodes.integers(first_row) if first_row in episodes else None,
        videos=videos,
        seeds=episodes.integers("seed") if own and "seed" in episodes else None,
        noisy=np.asarray(episodes["noisy"], bool) if own and "noisy" in episodes else None,
        succeeded=_in_any_row(episodes, SUCCESS),
        terminated=_in_any_row(episodes, TERMINATED),
        last_files=_last_files(episodes, kinds) if own else {},
        spans=spans,
        left_out={f"meta/episodes {name}": in_spans.get(name, "not read") for name in unknown},
    )


def _last_files(episodes: Columns, kinds: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(chunk, file) numbers of the last episode by kind of file."""
    last = {}
    for kind in kinds:
        if f"{kind}/chunk_index" in episodes:
            chunk, file = episodes[f"{kind}/chunk_index"][-1], episodes[f"{kind}/file_index"][-1]
            last[kind] = (int(chunk), int(file))
    return last


def _read_v2(path: Path, info: Mapping[str, Any]) -> Metadata:
    file = path / _OLD_EPISODES
    rows = read_json_lines(file)
    numbers = whole_numbers([row["episode_index"] for row in rows], f"{file}: episode_index")
    order = np.argsort(numbers, kind="stable")
    rows, numbers = [rows[index] for index in order], numbers[order]
    tasks = read_lines(path)
    chunk = whole_number(info, "chunks_size", path / layout.INFO)
    lengths = whole_numbers([row["length"] for row in rows], f"{file}: length")

    def files(template: str, video_key: str = "") -> list[Path]:
        """The file of each episode."""
        return [
            named_file(
                path,
                template,
                episode_chunk=number // chunk,
                episode_index=number,
                video_key=video_key,
            )
            for number in numbers.tolist()
        ]

    videos: dict[str, list[Video | None]] = {}
    for name in _video_features(info):
        videos[name] = [
            Video(file, 0.0, 0, int(length))
            for file, length in zip(files(info["video_path"], name), lengths, strict=True)
        ]
    statistics, stale = old_statistics(path, set(numbers.tolist()))
    return Metadata(
        info=info,
        fps=rate(info, "fps", path / layout.INFO),
        statistics=statistics,
        tasks=tasks,
        numbers=numbers,
        lengths=lengths,
        listed=[tasks.listed(row.get("tasks")) for row in rows],
        data_files=files(info["data_path"]),
        first_rows=None,
        videos=videos,
        stale=stale,
    )


def _videos_v3(
    path: Path, info: Mapping[str, Any], episodes: Columns, lengths: np.ndarray
) -> dict[str, list[Video | None]]:
    """The videos of each feature, if there are columns that say in which files they are."""
    videos: dict[str, list[Video | None]] = {}
    for name in _video_features(info):
        kind = f"videos/{name}"
        columns = [f"{kind}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
        if not all(column in episodes for column in columns):
            continue
        rows = list(zip(*(episodes[column] for column in columns), strict=True))
        with_video = [
            index
            for index, row in enumerate(rows)
            if all(value is not None and value == value for value in row)  # neither null nor NaN
        ]
        chunks = [rows[index][0] for index in with_video]
        file_numbers = [rows[index][1] for index in with_video]
        files = _numbered_files(path, info["video_path"], [chunks, file_numbers], kind)
        begins = np.asarray([float(rows[index][2]) for index in with_video])
        located = locate_videos(files, begins, lengths[with_video])
        videos[name] = [None] * len(rows)
        for index, video in zip(with_video, located, strict=True):
            videos[name][index] = video
    return videos


def _check_counts(path: Path, metadata: Metadata, complain: Complain) -> None:
    info, lengths, where = metadata.info, metadata.lengths, path / layout.INFO
    episodes, frames = (
        whole_number(info, name, where) for name in ("total_episodes", "total_frames")
    )
    if episodes != len(lengths):
        absent = missing_numbers(metadata.numbers)
        gap = f"; episodes {first_numbers(absent)} are missing" if absent else ""
        complain(f"{where} counts {episodes} episodes, meta/episodes {len(lengths)}{gap}")
    if frames != lengths.sum():
        complain(f"{where} counts {frames} frames, meta/episodes {lengths.sum()}")
    if not len(lengths):
        raise UserError(f"{path} holds no episodes")


def _repeated(numbers: np.ndarray) -> np.ndarray:
    values, counts = np.unique(numbers, return_counts=True)
    return values[counts > 1]


def _video_features(info: Mapping[str, Any]) -> list[str]:
    """The features that are videos; none if info.json has no path for them."""
    if not isinstance(info.get("video_path"), str):
        return []
    return [name for name, item in info["features"].items() if _is_video(item)]


def _is_video(feature: Any) -> bool:
    return isinstance(feature, Mapping) and feature.get("dtype") == "video"


def _in_any_row(episodes: Columns, name: str) -> np.ndarray | None:
    """Whether a column is true in any row of each episode, if that is stored for all; else None."""
    column = f"stats/{name}/max"
    values = episodes[column] if column in episodes else [None]
    maxima = [each[0] for each in values if isinstance(each, list) and each and each[0] is not None]
    return np.asarray([value > 0 for value in maxima]) if len(maxima) == len(values) else None


def _numbered_files(
    path: Path, template: str, numbers: Sequence[Sequence[Any]], kind: str
) -> list[Path]:
    """The file of each episode by its chunk number, numbers[0], and file number, numbers[1]."""
    where = f"{path / 'meta/episodes'}: {kind}"
    chunks = whole_numbers(numbers[0], f"{where}/chunk_index").tolist()
    files = whole_numbers(numbers[1], f"{where}/file_index").tolist()
    key = kind.removeprefix("videos/")
    paths: dict[tuple[int, int], Path] = {}  # episodes share files
    for chunk, file in dict.fromkeys(zip(chunks, files, strict=True)):
        paths[chunk, file] = named_file(
            path, template, chunk_index=chunk, file_index=file, episode_chunk=chunk, video_key=key
        )
    return [paths[pair] for pair in zip(chunks, files, strict=True)]
