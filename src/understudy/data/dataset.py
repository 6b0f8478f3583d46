"""Datasets of episodes on disk, in the LeRobotDataset v3.0 layout: open, read, append."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.data import foreign, layout
from understudy.data.layout import TaskEntry
from understudy.data.png import decode_png
from understudy.data.statistics import Statistics, sample_rows
from understudy.data.video import read_frames
from understudy.data.writer import Continuation, DatasetWriter
from understudy.types import Episode, Spec, UserError

__all__ = ["DatasetWriter", "EpisodeDataset", "TaskEntry", "append"]


class EpisodeDataset:
    """An opened dataset: what it holds is known, frames stay on disk until asked for. `EpisodeDataset.open(path)`.

    spec: the embodiment. fps: frames a second. environment: the EnvConfig as JSON, {} for foreign datasets.
    tasks: the tasks, in order of their index. starts: int64 (num_episodes + 1,), first frame of each episode.
    episode_task: int64 (num_episodes,), index into `tasks`. statistics: a feature's minimum, mean and so on.
    """

    def __init__(self, path: Path, info: Mapping[str, Any], statistics: Statistics, episodes: pa.Table) -> None:
        self.path = path
        self.info = info
        self.statistics = statistics
        self.fps = float(info["fps"])
        self.features: Mapping[str, Any] = info["features"]
        self.camera_features = foreign.camera_features(self.features)
        ours = info.get("understudy", {})
        self.environment: dict[str, Any] = dict(ours.get("environment", {}))
        self.spec = Spec.from_dict(ours["spec"]) if ours else foreign.derive_spec(info, statistics)
        self.tasks = _read_tasks(path, ours)
        self._episodes = episodes
        self._data_files = self._locate("data")
        self.starts = self._index_episodes()
        self.num_episodes = len(self.starts) - 1
        self.num_frames = int(self.starts[-1])
        self.episode_task = self._tasks_of_episodes()
        self._check_files()
        self._opened = threading.local()

    @classmethod
    def open(cls, path: str | Path) -> EpisodeDataset:
        """Open a dataset folder. Raises UserError naming the file that is missing, torn, or disagrees with another."""
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"no dataset at {path}")
        info = _read_json(path / layout.INFO)
        version = str(info.get("codebase_version"))
        if not version.startswith("v3."):
            raise UserError(f"{path / layout.INFO} has codebase_version {version}; {layout.VERSION} can be read")
        try:
            statistics = Statistics.from_dict(_read_json(path / layout.STATS))
            for feature in {layout.STATE, layout.ACTION} & info["features"].keys() - statistics.features.keys():
                raise UserError(f"{path / layout.STATS} has no statistics of {feature}")
            return cls(path, info, statistics, _read_episodes(path))
        except KeyError as error:
            raise UserError(f"{path / 'meta'} lacks {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names and contents of all files of meta, data and videos, in hexadecimal."""
        whole = hashlib.sha256()
        files = (file for part in ("meta", "data", "videos") for file in (self.path / part).rglob("*"))
        for file in sorted(file for file in files if file.is_file()):
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            whole.update(f"{file.relative_to(self.path).as_posix()} {digest}\n".encode())
        return whole.hexdigest()

    def episode(self, index: int) -> Episode:
        """Decode one episode. Raises UserError naming the file where it is torn."""
        columns = self.columns(index)
        length = self.length(index)
        task = self.tasks[self.episode_task[index]]
        action = _matrix(columns[layout.ACTION], length)
        return Episode(
            task=task.name,
            sentence=task.sentence,
            seed=self.seed(index),
            images={camera: self.frames(index, camera) for camera in self.spec.cameras},
            state=_matrix(columns[layout.STATE], length)
            if self.spec.state_names
            else np.zeros((length, 0), np.float32),
            action=action,
            expert_action=_matrix(columns.get(layout.EXPERT_ACTION, action), length),
            reward=columns.get(layout.REWARD, np.zeros(length)).astype(np.float32).reshape(length),
            success=columns.get(layout.SUCCESS, np.zeros(length)).astype(bool).reshape(length),
        )

    def length(self, index: int) -> int:
        """Frames of one episode."""
        return int(self.starts[index + 1] - self.starts[index])

    def seed(self, index: int) -> int:
        """The environment's reset seed of one episode; -1 where a foreign dataset does not know."""
        return self._episodes["seed"][index].as_py() if "seed" in self._episodes.column_names else -1

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """One episode's numbers: feature name to (T,) or (T, d), in the stored dtype."""
        numeric = [name for name, item in self.features.items() if item["dtype"] not in ("image", "video", "string")]
        table = self._read_rows(index, numeric)
        return {name: _to_numpy(table[name]) for name in numeric}

    def frames(self, index: int, camera: str, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """One episode's images of one camera, uint8 (T, h, w, 3), or those of some rows of it, ascending."""
        rows = np.arange(self.length(index)) if rows is None else np.asarray(rows)
        feature = self.camera_features[camera]
        if self.features[feature]["dtype"] == "video":
            frames = self._video_frames(index, feature, rows)
        else:
            frames = self._stored_frames(index, feature, rows)
        expected = (*self.spec.cameras[camera], 3)
        if frames.shape[1:] != expected:
            raise UserError(f"{self.path}: episode {index} has {feature} of shape {frames.shape[1:]}, not {expected}")
        return frames

    def summary(self) -> dict[str, Any]:
        """What `understudy data info` prints: plain values, JSON-ready."""
        successes, noisy = self._success_of_episodes(), self._column("noisy", False)
        tasks = []
        for number, task in enumerate(self.tasks):
            chosen = np.flatnonzero(self.episode_task == number)
            lengths = np.diff(self.starts)[chosen]
            row = {
                "task": task.name,
                "sentence": task.sentence,
                "paraphrases": len(task.paraphrases),
                "episodes": len(chosen),
                "frames": int(lengths.sum()),
                "mean_length": float(lengths.mean()) if len(chosen) else 0.0,
                "success": float(np.mean([successes[i] for i in chosen])) if len(chosen) and successes else None,
                "noisy_episodes": sum(bool(noisy[i]) for i in chosen),
            }
            tasks.append(row)
        files = [file for file in self.path.rglob("*") if file.is_file()]
        kinds = {self.features[feature]["dtype"] for feature in self.camera_features.values()}
        return {
            "path": str(self.path),
            "format": f"LeRobotDataset {self.info['codebase_version']}",
            "fingerprint": self.fingerprint,
            "episodes": self.num_episodes,
            "frames": self.num_frames,
            "fps": self.fps,
            "seconds": self.num_frames / self.fps,
            "megabytes": sum(file.stat().st_size for file in files) / 1e6,
            "images": ", ".join(sorted("png" if kind == "image" else kind for kind in kinds)) or "none",
            "spec": self.spec.to_dict(),
            "environment": self.environment,
            "tasks": tasks,
        }

    def _locate(self, kind: str) -> list[Path]:
        template = self.info[f"{'video' if kind.startswith('videos/') else kind}_path"]
        places = zip(self._column(f"{kind}/chunk_index"), self._column(f"{kind}/file_index"), strict=True)
        key = kind.removeprefix("videos/")
        return [
            self.path / template.format(chunk_index=chunk, file_index=file, episode_chunk=chunk, video_key=key)
            for chunk, file in places
        ]

    def _column(self, name: str, default: Any = None) -> list[Any]:
        if name in self._episodes.column_names:
            return self._episodes[name].to_pylist()
        if default is None:
            raise UserError(f"{self.path / 'meta/episodes'} has no column {name}")
        return [default] * len(self._episodes)

    def _index_episodes(self) -> np.ndarray:
        lengths = np.asarray(self._column("length"), dtype=np.int64)
        starts = np.concatenate([[0], lengths.cumsum()])
        where = self.path / layout.INFO
        if self.info["total_episodes"] != len(lengths):
            raise UserError(f"{where} counts {self.info['total_episodes']} episodes, meta/episodes {len(lengths)}")
        if self.info["total_frames"] != starts[-1]:
            raise UserError(f"{where} counts {self.info['total_frames']} frames, meta/episodes {starts[-1]}")
        if not len(lengths) or lengths.min() < 1:
            raise UserError(f"{self.path} holds no episodes, or empty ones")
        if self._column("dataset_from_index") != starts[:-1].tolist():
            raise UserError(f"{self.path / 'meta/episodes'}: dataset_from_index does not follow from length")
        return starts

    def _tasks_of_episodes(self) -> np.ndarray:
        if "task_index" in self._episodes.column_names:
            numbers = self._column("task_index")
        else:
            known = {task.sentence: number for number, task in enumerate(self.tasks)}
            numbers = [known.get(asked[0], -1) if asked else 0 for asked in self._column("tasks")]
        if min(numbers) < 0 or max(numbers) >= len(self.tasks):
            raise UserError(f"{self.path / layout.TASKS} lacks a task that meta/episodes names")
        return np.asarray(numbers, dtype=np.int64)

    def _check_files(self) -> None:
        """Each data file's footer is whole and counts the rows the episodes promise; each video exists."""
        expected: dict[Path, int] = {}
        self._row_in_file = np.zeros(self.num_episodes, np.int64)
        for index, file in enumerate(self._data_files):
            self._row_in_file[index] = expected.get(file, 0)
            expected[file] = expected.get(file, 0) + self.length(index)
        for file, rows in expected.items():
            with _reading(file):
                found = pq.read_metadata(file).num_rows
            if found != rows:
                raise UserError(f"{file} has {found} rows; meta/episodes counts {rows}")
        videos = [name for name in self.camera_features.values() if self.features[name]["dtype"] == "video"]
        self._video_files = {name: self._locate(f"videos/{name}") for name in videos}
        for file in {file for files in self._video_files.values() for file in files}:
            if not file.is_file():
                raise UserError(f"{file} is missing")

    def _read_rows(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one episode, read from the row groups that hold it."""
        file = self._data_files[index]
        with _reading(file):
            opened, offsets = self._open_file(file)
            missing = set(columns) - set(opened.schema_arrow.names)
            if missing:
                raise UserError(f"{file} has no column {', '.join(sorted(missing))}")
            first = int(self._row_in_file[index])
            last = first + self.length(index)
            groups = range(np.searchsorted(offsets, first, "right") - 1, np.searchsorted(offsets, last, "left"))
            table = opened.read_row_groups(list(groups), columns=list(columns), use_threads=False)
            return table.slice(first - offsets[groups[0]], last - first)

    def _open_file(self, file: Path) -> tuple[pq.ParquetFile, np.ndarray]:
        """The open file and the first row of each of its row groups; one is kept open a thread."""
        if getattr(self._opened, "file", None) != file:
            opened = pq.ParquetFile(file)
            sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
            self._opened.file = file
            self._opened.content = opened, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return self._opened.content

    def _stored_frames(self, index: int, feature: str, rows: np.ndarray) -> np.ndarray:
        pictures = self._read_rows(index, [feature])[feature].take(pa.array(rows)).to_pylist()
        frames = []
        for row, picture in zip(rows, pictures, strict=True):
            try:
                content = picture["bytes"]
                frames.append(decode_png((self.path / picture["path"]).read_bytes() if content is None else content))
            except (OSError, ValueError, SyntaxError, TypeError) as error:
                where = f"{self._data_files[index]}: episode {index}, frame {row}, {feature}"
                raise UserError(f"{where} is not a readable picture: {_one_line(error)}") from error
        return np.stack(frames)

    def _video_frames(self, index: int, feature: str, rows: np.ndarray) -> np.ndarray:
        begin = self._episodes[f"videos/{feature}/from_timestamp"][index].as_py()
        return read_frames(self._video_files[feature][index], begin + rows / self.fps, self.fps)

    def _success_of_episodes(self) -> list[bool]:
        column = f"stats/{layout.SUCCESS}/max"
        return [values[0] > 0 for values in self._column(column)] if column in self._episodes.column_names else []

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._opened = threading.local()


def append(
    path: str | Path,
    spec: Spec,
    *,
    fps: float,
    tasks: Sequence[TaskEntry],
    environment: Mapping[str, Any],
) -> DatasetWriter:
    """A writer that adds episodes to the dataset at `path`, which changes in one step when the writer closes.

    Tasks the dataset does not know yet are added to its own. Raises UserError if spec, rate, environment or a
    task's sentences differ from the dataset's, or it was not written by us.
    """
    dataset = EpisodeDataset.open(path)
    if "understudy" not in dataset.info:
        raise UserError(f"{path} was not written by understudy; episodes cannot be appended")
    differences = dataset.spec.differences(spec)
    differences += [] if dataset.fps == fps else [f"fps: {dataset.fps:g}, {fps:g}"]
    differences += (
        [] if dataset.environment == json.loads(json.dumps(environment)) else ["environment: another configuration"]
    )
    known = {task.name: task for task in dataset.tasks}
    differences += [f"sentences of {task.name}" for task in tasks if known.get(task.name, task) != task]
    if differences:
        raise UserError(f"{path} differs from what is to be appended: {'; '.join(differences)}")
    return DatasetWriter(
        path,
        spec,
        fps=fps,
        tasks=[*dataset.tasks, *(task for task in tasks if task.name not in known)],
        environment=environment,
        images="video" if dataset._video_files else "png",
        continues=_continuation(dataset),
    )


def _continuation(dataset: EpisodeDataset) -> Continuation:
    def last(kind: str) -> tuple[int, int]:
        return dataset._column(f"{kind}/chunk_index")[-1], dataset._column(f"{kind}/file_index")[-1]

    return Continuation(
        num_episodes=dataset.num_episodes,
        num_frames=dataset.num_frames,
        data_place=last("data"),
        video_places={name: last(f"videos/{name}") for name in dataset._video_files},
        episodes_place=last("meta/episodes"),
        content=_statistics_content(dataset),
    )


def _statistics_content(dataset: EpisodeDataset) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    for index in range(dataset.num_episodes):
        rows = sample_rows(dataset.length(index))
        yield dataset.columns(index), {camera: dataset.frames(index, camera, rows) for camera in dataset.spec.cameras}


def _read_tasks(path: Path, ours: Mapping[str, Any]) -> tuple[TaskEntry, ...]:
    if ours:
        return tuple(TaskEntry(item["name"], item["sentence"], tuple(item["paraphrases"])) for item in ours["tasks"])
    with _reading(path / layout.TASKS):
        table = pq.ParquetFile(path / layout.TASKS).read(use_threads=False).sort_by("task_index")
    texts = next((name for name in table.column_names if name != "task_index"), None)
    if texts is None:
        raise UserError(f"{path / layout.TASKS} has no column of task texts")
    return tuple(TaskEntry(f"unknown/{number}", str(text)) for number, text in enumerate(table[texts].to_pylist()))


def _read_episodes(path: Path) -> pa.Table:
    """All rows of meta/episodes, with the statistics left out but for success."""
    files = sorted((path / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise UserError(f"{path / 'meta/episodes'} holds no parquet file")
    tables = []
    for file in files:
        with _reading(file):
            names = pq.read_schema(file).names
            wanted = [name for name in names if not name.startswith("stats/") or name == f"stats/{layout.SUCCESS}/max"]
            tables.append(pq.ParquetFile(file).read(columns=wanted, use_threads=False))
    return pa.concat_tables(tables, promote_options="permissive").sort_by("episode_index")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; a LeRobotDataset v3.0 folder has it") from error
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON: {_one_line(error)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object")
    return values


class _reading:
    """Turns what pyarrow raises about one file into a UserError that names it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        if not self._file.is_file():
            raise UserError(f"{self._file} is missing")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and isinstance(error, pa.ArrowException | OSError):
            raise UserError(f"{self._file} cannot be read as parquet: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return str(error).split("\n")[0].split("BytesIO object")[0] or type(error).__name__


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type) or pa.types.is_large_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)


def _matrix(values: np.ndarray, length: int) -> np.ndarray:
    return values.astype(np.float32).reshape(length, -1)
