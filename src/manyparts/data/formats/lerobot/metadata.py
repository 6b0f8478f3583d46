"""The meta folder of a LeRobotDataset: versions 2.0, 2.1 and 3.0 as one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from manyparts.core.columns import SUCCESS
from manyparts.core.errors import UserError
from manyparts.core.naming import own_entry
from manyparts.data.formats.dataset_description import read_tasks
from manyparts.data.formats.errors import (
    Complain,
    UnsupportedFormatError,
    format_errors,
    parquet_errors,
    read_json,
    refuse,
)
from manyparts.data.formats.files import open_parquet
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.tasks import TaskTable, own_tasks, read_lines, read_table
from manyparts.data.formats.lerobot.values import (
    Columns,
    rate,
    read_json_lines,
    whole_number,
    whole_numbers,
)
from manyparts.data.formats.lerobot.videos import Video, locate_videos
from manyparts.embodiment.statistics import Statistics, pooled

VERSIONS = ("v2.0", "v2.1", "v3.0")
_OLD_STATISTICS, _OLD_EPISODES = "meta/episodes_stats.jsonl", "meta/episodes.jsonl"
_SUCCESS = f"stats/{SUCCESS}/max"
_KNOWN = ("episode_index", "tasks", "length", "task_index", "seed", "noisy")
_KNOWN_PREFIXES = ("data/", "videos/", "meta/", "stats/", "dataset_")
_SHOWN = 5


@dataclass(frozen=True)
class Metadata:
    """What the meta folder says. Lists and arrays have an entry an episode; `videos` a list for
    each video feature, in which None stands for an episode that has none.

    numbers: the episode_index that was recorded. listed: positions in `tasks.entries`, -1 for an
    unknown task. first_rows: the episode's first row among all, None for old versions. places: of
    the last episode's files, as (chunk, file) numbers by kind, for who appends; empty for old
    versions. left_out: of meta/ and why. lost: episodes, by their number, that metadata alone shows
    to be wrong. stale: what statistics do not cover, None where they do.
    """

    info: Mapping[str, Any]
    fps: float
    statistics: Statistics
    tasks: TaskTable
    numbers: np.ndarray
    lengths: np.ndarray
    listed: list[tuple[int, ...]]
    data_files: list[Path]
    first_rows: np.ndarray | None
    videos: Mapping[str, list[Video | None]]
    seeds: np.ndarray | None = None
    noisy: np.ndarray | None = None
    succeeded: np.ndarray | None = None
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[int, str] = field(default_factory=dict)
    stale: str | None = None

    def only(self, kept: Sequence[int]) -> Metadata:
        """Without the episodes whose positions are not among `kept`."""
        arrays = ("numbers", "lengths", "first_rows", "seeds", "noisy", "succeeded")
        chosen = {
            name: None if (values := getattr(self, name)) is None else values[list(kept)]
            for name in arrays
        }
        return replace(
            self,
            listed=[self.listed[index] for index in kept],
            data_files=[self.data_files[index] for index in kept],
            videos={
                name: [videos[index] for index in kept] for name, videos in self.videos.items()
            },
            **chosen,
        )


def read_metadata(path: Path, complain: Complain = refuse) -> Metadata:
    """Read and check what a dataset folder says of itself. Raises UserError naming the file that is
    missing, torn, or disagrees with another."""
    if not path.is_dir():
        raise UserError(f"no dataset at {path}")
    info = read_json(path / layout.INFO)
    version = str(info.get("codebase_version"))
    if version not in VERSIONS:
        can = f"can be read: {', '.join(VERSIONS)}; convert it with LeRobot's own scripts"
        raise UnsupportedFormatError(f"{path / layout.INFO} has codebase_version {version}", can)
    if str(info.get("storage_format")).lower() == "lance":
        stored = f"{path} is a LeRobotDataset in Lance storage, which is not read yet"
        raise UnsupportedFormatError(stored, "write it in LeRobot's parquet storage")
    with format_errors(path / "meta", version):
        if not isinstance(info["features"], Mapping):
            raise UserError(f"{path / layout.INFO}: features is no object")
        metadata = (_read_v3 if version.startswith("v3.") else _read_v2)(path, info)
        _check_counts(path, metadata, complain)
        twice = {int(number): "meta/episodes lists it twice" for number in _twice(metadata.numbers)}
        unplaced = [
            name
            for name, item in info["features"].items()
            if _is_video(item) and name not in metadata.videos
        ]
        left_out = dict.fromkeys(unplaced, "meta/ does not say where its videos lie")
        return replace(metadata, lost=twice, left_out={**metadata.left_out, **left_out})


def inside(path: Path, name: str) -> Path:
    """A file of the dataset by the name that the dataset gives it. Raises UserError for one that
    leads out of it."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise UserError(f"{path} names a file outside of itself: {name!r}")
    return path / parts


def first_numbers(numbers: Sequence[int] | np.ndarray) -> str:
    """A few of the numbers of episodes, for people."""
    numbers = sorted(map(int, numbers))
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more


def missing_numbers(numbers: np.ndarray) -> list[int]:
    """Which episodes from 0 to the last are not there."""
    return np.setdiff1d(np.arange(int(numbers.max()) + 1), numbers).tolist() if len(numbers) else []


def _read_v3(path: Path, info: Mapping[str, Any]) -> Metadata:
    own = own_entry(info) or {}
    where = path / "meta/episodes"
    episodes = Columns(_episode_table(path), where)
    numbers, lengths = episodes.integers("episode_index"), episodes.integers("length")
    asked = episodes["tasks"] if "tasks" in episodes else [None] * len(numbers)
    tasks = own_tasks(read_tasks(own["tasks"])) if own else read_table(path, asked)
    if own and "task_index" in episodes:
        numbered = episodes.integers("task_index").tolist()
        listed = [(number,) if 0 <= number < len(tasks.entries) else (-1,) for number in numbered]
    else:
        listed = [tasks.listed(names) for names in asked]
    videos = _videos_v3(path, info, episodes, lengths)
    statistics, stale = _statistics(path)
    strange = [
        name
        for name in episodes.names
        if name not in _KNOWN and not name.startswith(_KNOWN_PREFIXES)
    ]
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
        data_files=_named(
            path,
            info["data_path"],
            [episodes[f"data/{part}_index"] for part in ("chunk", "file")],
            "data",
        ),
        first_rows=episodes.integers("dataset_from_index")
        if "dataset_from_index" in episodes
        else None,
        videos=videos,
        seeds=episodes.integers("seed") if own and "seed" in episodes else None,
        noisy=np.asarray(episodes["noisy"], bool) if own and "noisy" in episodes else None,
        succeeded=_succeeded(episodes),
        places={
            kind: (
                int(episodes[f"{kind}/chunk_index"][-1]),
                int(episodes[f"{kind}/file_index"][-1]),
            )
            for kind in kinds
            if own and f"{kind}/chunk_index" in episodes
        },
        left_out={f"meta/episodes {name}": "not read" for name in strange},
    )


def _read_v2(path: Path, info: Mapping[str, Any]) -> Metadata:
    file = path / _OLD_EPISODES
    rows = read_json_lines(file)
    numbers = whole_numbers([row["episode_index"] for row in rows], f"{file}: episode_index")
    order = np.argsort(numbers, kind="stable")
    rows, numbers = [rows[index] for index in order], numbers[order]
    tasks = read_lines(path)
    chunk = whole_number(info, "chunks_size", path / layout.INFO)
    lengths = whole_numbers([row["length"] for row in rows], f"{file}: length")

    def files(template: str, **given: str) -> list[Path]:
        return [
            inside(
                path, template.format(episode_chunk=number // chunk, episode_index=number, **given)
            )
            for number in numbers.tolist()
        ]

    videos: dict[str, list[Video | None]] = {}
    for name in _videos(info):
        own = files(info["video_path"], video_key=name)
        videos[name] = [
            Video(file, 0.0, 0, int(length)) for file, length in zip(own, lengths, strict=True)
        ]
    statistics, stale = _old_statistics(path, set(numbers.tolist()))
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
    """Videos by feature, as far as there are columns that say where they lie."""
    videos: dict[str, list[Video | None]] = {}
    for name in _videos(info):
        kind = f"videos/{name}"
        columns = [f"{kind}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
        if not all(column in episodes for column in columns):
            continue
        rows = list(zip(*(episodes[column] for column in columns), strict=True))
        there = [
            index
            for index, row in enumerate(rows)
            if all(value is not None and value == value for value in row)
        ]
        places = [[rows[index][part] for index in there] for part in (0, 1)]
        files = _named(path, info["video_path"], places, kind)
        begins = np.asarray([float(rows[index][2]) for index in there])
        videos[name] = [None] * len(rows)
        for index, video in zip(there, locate_videos(files, begins, lengths[there]), strict=True):
            videos[name][index] = video
    return videos


def _statistics(path: Path) -> tuple[Statistics, str | None]:
    """Of the whole; and why they are not those of the rows, if they are not."""
    try:
        return _readable(read_json(path / layout.STATS)), None
    except UserError:
        return Statistics(
            {}
        ), f"{layout.STATS} is {'torn' if (path / layout.STATS).is_file() else 'missing'}"


def _old_statistics(path: Path, numbers: set[int]) -> tuple[Statistics, str | None]:
    """Of the whole as v2.0 keeps them, or of the episodes, as v2.1 does, put together; and of which
    they are not."""
    if not (path / _OLD_STATISTICS).is_file():
        return _statistics(path)
    rows = [
        row
        for row in read_json_lines(path / _OLD_STATISTICS)
        if row.get("episode_index", -1) in numbers
    ]
    absent = numbers - {int(row["episode_index"]) for row in rows}
    if not rows:
        return Statistics({}), f"{_OLD_STATISTICS} holds nothing of the episodes"
    stale = f"{_OLD_STATISTICS} lacks episode {first_numbers(sorted(absent))}" if absent else None
    return pooled([_readable(row.get("stats") or {}) for row in rows]), stale


def _readable(values: Mapping[str, Any]) -> Statistics:
    """The statistics that are as they should be; others are as if they were not there."""
    readable = {}
    for name, item in values.items():
        try:
            readable |= Statistics.from_dict({name: item}).features
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            continue
    return Statistics(readable)


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


def _twice(numbers: np.ndarray) -> np.ndarray:
    values, counts = np.unique(numbers, return_counts=True)
    return values[counts > 1]


def _videos(info: Mapping[str, Any]) -> list[str]:
    """Features that are videos, if it is said at all where these lie."""
    there = isinstance(info.get("video_path"), str)
    return [name for name, item in info["features"].items() if there and _is_video(item)]


def _is_video(feature: Any) -> bool:
    return isinstance(feature, Mapping) and feature.get("dtype") == "video"


def _succeeded(episodes: Columns) -> np.ndarray | None:
    """Whether each episode ends well, where that is written down for all."""
    values = episodes[_SUCCESS] if _SUCCESS in episodes else [None]
    firsts = [each[0] for each in values if isinstance(each, list) and each and each[0] is not None]
    return np.asarray([first > 0 for first in firsts]) if len(firsts) == len(values) else None


def _episode_table(path: Path) -> pa.Table:
    """All rows of meta/episodes, with the statistics left out but for success."""
    files = sorted((path / "meta/episodes").glob("*/[!.]*.parquet"))
    if not files:
        raise UserError(f"{path / 'meta/episodes'} holds no parquet file")
    tables = []
    for file in files:
        with parquet_errors(file):
            opened = open_parquet(file)
            names = opened.schema_arrow.names
            wanted = [name for name in names if not name.startswith("stats/") or name == _SUCCESS]
            tables.append(opened.read(columns=wanted, use_threads=False))
    return pa.concat_tables(tables, promote_options="permissive").sort_by("episode_index")


def _named(path: Path, template: str, places: Sequence[Sequence[Any]], kind: str) -> list[Path]:
    """Files by their (chunk, file) numbers."""
    where = f"{path / 'meta/episodes'}: {kind}"
    chunks, files = (
        whole_numbers(values, f"{where}/{name}_index").tolist()
        for values, name in zip(places, ("chunk", "file"), strict=True)
    )
    key = kind.removeprefix("videos/")
    paths = {
        (chunk, file): inside(
            path,
            template.format(chunk_index=chunk, file_index=file, episode_chunk=chunk, video_key=key),
        )
        for chunk, file in dict.fromkeys(zip(chunks, files, strict=True))
    }
    return [paths[pair] for pair in zip(chunks, files, strict=True)]
