"""The meta folder of a LeRobotDataset: versions 2.0, 2.1 and 3.0 as one record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.data.formats.errors import Complain, NotReadError, fitting, one_line, read_json, reading, refuse
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.ours import read_tasks
from manyparts.data.formats.reader import ACTION, STATE, SUCCESS
from manyparts.data.statistics import Statistics, pooled
from manyparts.naming import own_entry
from manyparts.types import TaskEntry, UserError

VERSIONS = ("v2.0", "v2.1", "v3.0")
_OLD_STATISTICS, _OLD_TASKS, _OLD_EPISODES = "meta/episodes_stats.jsonl", "meta/tasks.jsonl", "meta/episodes.jsonl"


@dataclass(frozen=True)
class Video:
    """Where an episode's frames of one camera lie: a file, and the seconds in it at which they begin."""

    file: Path
    begin: float


@dataclass(frozen=True)
class Metadata:
    """What the meta folder says. Lists and arrays have an entry an episode; `videos` a list for each video feature.

    places: of the last episode's files, as (chunk, file) numbers by kind, for who appends; empty for old versions.
    """

    info: Mapping[str, Any]
    statistics: Statistics
    tasks: tuple[TaskEntry, ...]
    lengths: np.ndarray
    episode_task: np.ndarray
    data_files: list[Path]
    videos: Mapping[str, list[Video]]
    seeds: np.ndarray | None
    noisy: np.ndarray | None
    succeeded: np.ndarray | None
    places: Mapping[str, tuple[int, int]]


def read_metadata(path: Path, complain: Complain = refuse) -> Metadata:
    """Read and check what a dataset folder says of itself. Raises UserError naming the file that is missing, torn, or
    disagrees with another."""
    if not path.is_dir():
        raise UserError(f"no dataset at {path}")
    info = read_json(path / layout.INFO)
    version = str(info.get("codebase_version"))
    if version not in VERSIONS:
        can = f"can be read: {', '.join(VERSIONS)}; convert it with LeRobot's own scripts"
        raise NotReadError(f"{path / layout.INFO} has codebase_version {version}", can)
    if str(info.get("storage_format")).lower() == "lance":
        stored = f"{path} is a LeRobotDataset in Lance storage, which is not read yet"
        raise NotReadError(stored, "write it in LeRobot's parquet storage")
    with fitting(path / "meta", version):
        found = (_read_v3 if version.startswith("v3.") else _read_v2)(path, info)
        for feature in {STATE, ACTION} & info["features"].keys() - found.statistics.features.keys():
            raise UserError(f"{path / layout.STATS} has no statistics of {feature}")
        _check_counts(path, found, complain)
        return found


def inside(path: Path, name: str) -> Path:
    """A file of the dataset by the name that the dataset gives it. Raises UserError for one that leads out of it."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise UserError(f"{path} names a file outside of itself: {name!r}")
    return path / parts


def _read_v3(path: Path, info: Mapping[str, Any]) -> Metadata:
    ours = own_entry(info) or {}
    statistics = Statistics.from_dict(read_json(path / layout.STATS))
    episodes = _Rows(_episode_table(path), path / "meta/episodes")
    tasks = _tasks(path, ours)
    lengths = episodes.integers("length")
    starts = np.concatenate([[0], lengths.cumsum()])
    if len(lengths) and episodes["dataset_from_index"] != starts[:-1].tolist():
        raise UserError(f"{path / 'meta/episodes'}: dataset_from_index does not follow from length")
    success = f"stats/{SUCCESS}/max"
    kinds = ["data", *(f"videos/{name}" for name in _videos(info))]
    return Metadata(
        info=info,
        statistics=statistics,
        tasks=tasks,
        lengths=lengths,
        episode_task=episodes.integers("task_index")
        if "task_index" in episodes
        else _task_numbers(episodes["tasks"], tasks, path / layout.TASKS),
        data_files=_files(path, info["data_path"], episodes, "data"),
        videos={
            name: [
                Video(file, float(begin))
                for file, begin in zip(
                    _files(path, info["video_path"], episodes, f"videos/{name}"),
                    episodes[f"videos/{name}/from_timestamp"],
                    strict=True,
                )
            ]
            for name in _videos(info)
        },
        seeds=episodes.integers("seed") if "seed" in episodes else None,
        noisy=np.asarray(episodes["noisy"], bool) if "noisy" in episodes else None,
        succeeded=np.asarray([values[0] > 0 for values in episodes[success]]) if success in episodes else None,
        places={
            kind: (episodes[f"{kind}/chunk_index"][-1], episodes[f"{kind}/file_index"][-1])
            for kind in [*kinds, "meta/episodes"]
            if f"{kind}/chunk_index" in episodes
        },
    )


def _read_v2(path: Path, info: Mapping[str, Any]) -> Metadata:
    rows = sorted(read_json_lines(path / _OLD_EPISODES), key=lambda row: row["episode_index"])
    if [row["episode_index"] for row in rows] != list(range(len(rows))):
        raise UserError(f"{path / _OLD_EPISODES}: episode_index is not 0 to {len(rows) - 1}, each once")
    listed = {row["task_index"]: str(row["task"]) for row in read_json_lines(path / _OLD_TASKS)}
    tasks = tuple(_unknown(number, listed[number]) for number in sorted(listed))
    chunk = int(info["chunks_size"])

    def files(template: str, **given: str) -> list[Path]:
        return [
            inside(path, template.format(episode_chunk=number // chunk, episode_index=number, **given))
            for number in range(len(rows))
        ]

    return Metadata(
        info=info,
        statistics=_old_statistics(path),
        tasks=tasks,
        lengths=np.asarray([row["length"] for row in rows], dtype=np.int64),
        episode_task=_task_numbers([row["tasks"] for row in rows], tasks, path / _OLD_TASKS),
        data_files=files(info["data_path"]),
        videos={
            name: [Video(file, 0.0) for file in files(info["video_path"], video_key=name)] for name in _videos(info)
        },
        seeds=None,
        noisy=None,
        succeeded=None,
        places={},
    )


def _old_statistics(path: Path) -> Statistics:
    """Of the whole as v2.0 keeps them, or of the episodes, as v2.1 does, put together."""
    if (path / _OLD_STATISTICS).is_file():
        return pooled([Statistics.from_dict(row["stats"]) for row in read_json_lines(path / _OLD_STATISTICS)])
    return Statistics.from_dict(read_json(path / layout.STATS))


def _check_counts(path: Path, found: Metadata, complain: Complain) -> None:
    info, lengths, where = found.info, found.lengths, path / layout.INFO
    if info["total_episodes"] != len(lengths):
        complain(f"{where} counts {info['total_episodes']} episodes, meta/episodes {len(lengths)}")
    if info["total_frames"] != lengths.sum():
        complain(f"{where} counts {info['total_frames']} frames, meta/episodes {lengths.sum()}")
    if not len(lengths):
        raise UserError(f"{path} holds no episodes, or empty ones")
    if lengths.min() < 1:
        complain(f"{path} holds no episodes, or empty ones")
    if found.episode_task.min() < 0 or found.episode_task.max() >= len(found.tasks):
        raise UserError(f"{path / layout.TASKS} lacks a task that meta/episodes names")


def _videos(info: Mapping[str, Any]) -> list[str]:
    return [name for name, feature in info["features"].items() if feature["dtype"] == "video"]


def _task_numbers(asked: list[Any], tasks: tuple[TaskEntry, ...], where: Path) -> np.ndarray:
    """The first task of each episode; -1 for one that is not listed."""
    known = {task.sentence: number for number, task in enumerate(tasks)}
    return np.asarray([known.get(names[0], -1) if names else 0 for names in asked], dtype=np.int64)


def _tasks(path: Path, ours: Mapping[str, Any]) -> tuple[TaskEntry, ...]:
    if ours:
        return read_tasks(ours["tasks"])
    with reading(path / layout.TASKS):
        table = pq.ParquetFile(path / layout.TASKS).read(use_threads=False).sort_by("task_index")
    texts = next((name for name in table.column_names if name != "task_index"), None)
    if texts is None:
        raise UserError(f"{path / layout.TASKS} has no column of task texts")
    return tuple(_unknown(number, str(text)) for number, text in enumerate(table[texts].to_pylist()))


def _unknown(number: int, sentence: str) -> TaskEntry:
    """A task of which only the sentence is told."""
    return TaskEntry(f"unknown/{number}", sentence)


def _episode_table(path: Path) -> pa.Table:
    """All rows of meta/episodes, with the statistics left out but for success."""
    files = sorted((path / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise UserError(f"{path / 'meta/episodes'} holds no parquet file")
    tables = []
    for file in files:
        with reading(file):
            names = pq.read_schema(file).names
            wanted = [name for name in names if not name.startswith("stats/") or name == f"stats/{SUCCESS}/max"]
            tables.append(pq.ParquetFile(file).read(columns=wanted, use_threads=False))
    return pa.concat_tables(tables, promote_options="permissive").sort_by("episode_index")


def _files(path: Path, template: str, episodes: _Rows, kind: str) -> list[Path]:
    key = kind.removeprefix("videos/")
    return [
        inside(path, template.format(chunk_index=chunk, file_index=file, episode_chunk=chunk, video_key=key))
        for chunk, file in zip(episodes[f"{kind}/chunk_index"], episodes[f"{kind}/file_index"], strict=True)
    ]


class _Rows:
    """Columns of meta/episodes by name; a UserError for one that is not there."""

    def __init__(self, table: pa.Table, where: Path) -> None:
        self._table, self._where = table, where

    def __contains__(self, name: str) -> bool:
        return name in self._table.column_names

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self:
            raise UserError(f"{self._where} has no column {name}")
        return self._table[name].to_pylist()

    def integers(self, name: str) -> np.ndarray:
        return np.asarray(self[name], dtype=np.int64)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """A JSON object a line. Raises UserError naming the file, and the line where it is torn."""
    try:
        return list(_json_lines(path))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; a LeRobotDataset v2 folder has it") from error


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}, is not readable JSON: {one_line(error)}") from error
            if not isinstance(values, dict):
                raise UserError(f"{path}, line {number}, is not a JSON object")
            yield values
