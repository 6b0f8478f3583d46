"""Datasets of episodes on disk, in any supported format: open, read, append."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.arguments import whole
from manyparts.core.columns import ACTION, EXPERT_ACTION, REWARD, STATE, SUCCESS, TERMINATED
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import counted, html_table
from manyparts.core.records import Episode
from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.formats.arrays import one_per_step
from manyparts.data.formats.lerobot.appending import append
from manyparts.data.formats.lerobot.layout import Known
from manyparts.data.formats.lerobot.writer import DatasetWriter
from manyparts.data.formats.plugins import plugins_of
from manyparts.data.formats.reader import Reader, Remote, TextReader
from manyparts.data.locations import open_location
from manyparts.data.viewed import ViewedReader, through
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View

__all__ = ["DatasetWriter", "EpisodeDataset", "TaskEntry", "append"]


class EpisodeDataset:
    """An opened dataset. Its description is in memory, its frames stay on disk until you read them.

    Open one with `EpisodeDataset.open(path)`. It is a sequence of episodes: `dataset[0]`,
    `len(dataset)`, `for episode in dataset`.

    Attributes:
        reader: the reader of the dataset's format.
        path: the dataset's file or folder.
        spec: the robot's cameras, state and actions.
        fps: frames per second.
        environment: the EnvConfig as JSON; {} for datasets of other programs.
        tasks: the tasks, in order of their index.
        starts: int64 (num_episodes + 1,), the first frame of each episode.
        episode_task: int64 (num_episodes,), index into `tasks`.
        statistics: minimum, maximum, mean, std and quantiles of each feature.
        num_episodes: number of episodes.
        num_frames: number of frames of all episodes.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader, self.path = reader, reader.path
        contents = reader.contents
        self.spec, self.fps, self.tasks = contents.spec, contents.fps, contents.tasks
        self.statistics, self.environment = contents.statistics, dict(contents.environment)
        self.episode_task = contents.episode_task
        self.starts = np.concatenate([[0], contents.lengths.cumsum()]).astype(np.int64)
        self.num_episodes, self.num_frames = len(contents.lengths), int(self.starts[-1])

    def __repr__(self) -> str:
        tasks = counted(len(self.tasks), "task")
        episodes, frames = counted(self.num_episodes, "episode"), counted(self.num_frames, "frame")
        return (
            f"EpisodeDataset({self._located(self.path)!r}: {episodes}, "
            f"{frames} at {self.fps:g} Hz, {tasks}; {self.spec.summary()})"
        )

    def _repr_html_(self) -> str:
        lengths, rows = np.diff(self.starts), []
        for number, task in enumerate(self.tasks):
            of_task = self.episode_task == number
            rows.append(
                (task.name, task.instruction, int(of_task.sum()), int(lengths[of_task].sum()))
            )
        return html_table(repr(self), ("task", "instruction", "episodes", "frames"), rows)

    @classmethod
    def open(
        cls,
        location: str | Path | EpisodeDataset,
        view: View | Mapping[str, Any] | str | Path | None = None,
    ) -> EpisodeDataset:
        """Open a dataset of any format of docs/reference/other-formats.md, in place.

        Args:
            location: a path, "hf://owner/name@revision", a URL of fsspec's ("s3://bucket/set"), or
                a dataset that is already open, which is returned as it is. Behind a path or id may
                stand what the files do not say: "data/aloha@jpeg=rgb".
            view: what to show of it: a `View`, its fields, or a JSON file with them; None: all.

        Returns:
            The dataset. A `DatasetWarning` names what is in its files and is not read.

        Raises:
            UserError: naming the file that is missing, torn, or disagrees with another; or the view
                does not fit the data.
        """
        if isinstance(location, EpisodeDataset):
            return location if view is None else location.through(view)
        dataset = cls(open_location(location))
        dataset = dataset if view is None else dataset.through(view)
        # A worker process opens the same dataset: its warnings would only repeat the parent's.
        if multiprocessing.parent_process() is None:
            dataset.reader.contents.warn(str(location), stacklevel=3)
        return dataset

    def through(self, view: View | Mapping[str, Any] | str | Path) -> EpisodeDataset:
        """The same dataset through a view.

        Args:
            view: see `open`.

        Raises:
            UserError: the view does not fit the data, or they are seen through one already.
        """
        view = View.of(view)
        if view == View():
            return self
        seen = EpisodeDataset(through(self.reader, view))
        if self.spec != self.reader.contents.spec:
            seen.spec = seen.spec.called_as(self.spec)
        return seen

    @property
    def source(self) -> Source | None:
        """The robot as the files have it, and the view of it; None without a view."""
        return self.reader.source if isinstance(self.reader, ViewedReader) else None

    @property
    def view(self) -> View | None:
        """The view through which it is seen, if there is one."""
        return None if self.source is None else self.source.view

    @property
    def source_episodes(self) -> np.ndarray:
        """int64 (num_episodes,), the episode in the files that each episode is, or is a part of."""
        if isinstance(self.reader, ViewedReader):
            return self.reader.source_episodes
        return np.arange(self.num_episodes)

    @property
    def source_tasks(self) -> np.ndarray:
        """int64, the task in the files of each episode there."""
        if isinstance(self.reader, ViewedReader):
            return self.reader.inner.contents.episode_task
        return self.episode_task

    @property
    def location(self) -> str:
        """The absolute path or URL with options, which `open` takes in any working directory."""
        return self._located(self.path.resolve())

    def _located(self, path: Path) -> str:
        if isinstance(self.reader, Remote):
            return self.reader.url
        return f"{path}{self.reader.contents.options}"

    @property
    def is_remote(self) -> bool:
        """Whether its files are fetched when they are read."""
        return isinstance(self.reader, Remote)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256, in hexadecimal, of the content and, where there are any, of the view, of the
        options behind the location and of the plug-in that reads it."""
        view, contents = self.view, self.reader.contents
        shown = [contents.options, "" if view is None else view.key]
        shown += [f"{key} {origin}" for key, origin in contents.plugins.items()]
        parts = [self.content, *filter(None, shown)]
        if len(parts) == 1:
            return self.content
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that it was recorded with or is read with: "suites/NAME" or "formats/NAME"
        to distribution and version."""
        return plugins_of(self.path, self.reader.contents)

    @cached_property
    def content(self) -> str:
        """The sha256, in hexadecimal, over names and contents of all files of the dataset."""
        total, root = hashlib.sha256(), self.path if self.path.is_dir() else self.path.parent
        for file in sorted(self.reader.files()):
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            total.update(f"{file.relative_to(root).as_posix()} {digest}\n".encode())
        return total.hexdigest()

    def bounded_as(self, spec: Spec) -> EpisodeDataset:
        """The same dataset with an agent's action bounds and robot name, see `Spec.bounded_as`."""
        return self._with_spec(self.spec.bounded_as(spec).called_as(spec))

    def of_embodiment(self, name: str) -> EpisodeDataset:
        """The same dataset with another name for its robot."""
        return self._with_spec(replace(self.spec, embodiment=name, named=True))

    def _with_spec(self, spec: Spec) -> EpisodeDataset:
        same = copy(self)
        same.spec = spec
        return same

    def __len__(self) -> int:
        """Number of episodes."""
        return self.num_episodes

    def __getitem__(self, index: int) -> Episode:
        return self.episode(index)

    def __iter__(self) -> Iterator[Episode]:
        return map(self.episode, range(self.num_episodes))

    def episode(self, index: int) -> Episode:
        """Decode one episode; -1 is the last one.

        Raises:
            UserError: naming the file that is torn.
        """
        index = self._positive(index)
        columns = self.columns(index)
        length = self.length(index)
        task = self.tasks[self.episode_task[index]]
        action = _matrix(columns[ACTION], length)
        if self.spec.state_names:
            state = _matrix(columns[STATE], length)
        else:
            state = np.zeros((length, 0), np.float32)
        return Episode(
            task=task.name,
            instruction=task.instruction,
            seed=self.seed(index),
            images={camera: self.frames(index, camera) for camera in self.spec.cameras},
            state=state,
            action=action,
            expert_action=_matrix(columns.get(EXPERT_ACTION, action), length),
            reward=self.rewards(index, columns),
            success=self._one_per_step(columns, SUCCESS, index).astype(bool),
            terminated=bool(self._one_per_step(columns, TERMINATED, index)[-1:].any()),
        )

    def length(self, index: int) -> int:
        """Number of frames of one episode."""
        index = self._positive(index)
        return int(self.starts[index + 1] - self.starts[index])

    def seed(self, index: int) -> int:
        """The environment's reset seed of one episode; -1 where the dataset does not store it."""
        seeds = self.reader.contents.seeds
        return -1 if seeds is None else int(seeds[self._positive(index)])

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """One episode's numbers: feature name to (T,) or (T, d), in the stored dtype."""
        return self.reader.columns(self._positive(index))

    @property
    def terminated(self) -> np.ndarray | None:
        """bool (episodes,), which episodes ended for good, and were not only cut off.

        None where the dataset does not say it.
        """
        return self.reader.contents.terminated

    @cached_property
    def has_rewards(self) -> bool:
        """Whether steps of the first episode that can be read have rewards."""
        return self._has(REWARD)

    @cached_property
    def knows_success(self) -> bool:
        """Whether steps of the first episode that can be read say if the task is solved."""
        return self._has(SUCCESS)

    @property
    def known(self) -> Known:
        """What a copy has to know, too: `DatasetWriter(..., **dataset.known)`."""
        ends, success, reward = self.terminated is not None, self.knows_success, self.has_rewards
        return Known(terminates=ends, knows_success=success, knows_reward=reward)

    def _has(self, column: str) -> bool:
        """Whether the first episode that can be read has a column."""
        for index in range(self.num_episodes):
            with contextlib.suppress(UserError):
                return column in self.columns(index)
        return False

    def rewards(self, index: int, columns: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """One episode's rewards; zeros where the dataset has none.

        Args:
            index: the episode.
            columns: the episode's columns, if you have read them already.

        Returns:
            float32 (T,).

        Raises:
            UserError: if a step has several rewards.
        """
        columns = self.columns(index) if columns is None else columns
        return self._one_per_step(columns, REWARD, index).astype(np.float32)

    def frames(
        self, index: int, camera: str, rows: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """One episode's images of one camera.

        Args:
            index: the episode.
            camera: the camera's name.
            rows: the steps that you want images of, ascending; None: all T of the episode.

        Returns:
            uint8 (T or number of rows, h, w, 3).
        """
        index, length = self._positive(index), self.length(index)
        if camera not in self.spec.cameras:
            cameras = ", ".join(self.spec.cameras) or "none"
            raise UserError(f"{self.path} has no camera {camera!r}; choices: {cameras}")
        rows = np.arange(length) if rows is None else np.asarray(rows)
        expected = (*self.spec.cameras[camera], 3)
        if not rows.size:
            return np.zeros((0, *expected), np.uint8)
        if not 0 <= rows.min() <= rows.max() < length:
            raise UserError(
                f"rows {rows.min()} to {rows.max()} of episode {index}; expected 0 to {length - 1}"
            )
        frames = self.reader.frames(index, camera, rows)
        if frames.shape[1:] != expected:
            raise UserError(
                f"{self.path}: episode {index} has images {camera!r} of {frames.shape[1:]}, "
                f"not {expected}"
            )
        return frames

    def texts(self, index: int, column: str) -> list[str | None]:
        """One episode's texts of a text column, such as the subtask of each row.

        Args:
            index: the episode.
            column: the column's name; `reader.contents.text_columns` has all.

        Returns:
            T texts; None for a row that has none.

        Raises:
            UserError: there is no such text column, or it contradicts itself.
        """
        index, columns = self._positive(index), self.reader.contents.text_columns
        if column not in columns or not isinstance(self.reader, TextReader):
            which = closest(column, columns) if columns else "it has none"
            raise UserError(f"{self._located(self.path)} has no text column {column!r}; {which}")
        return self.reader.texts(index, column)

    def _positive(self, index: int) -> int:
        """The episode's index counted from 0; a negative index counts from the end."""
        number, count = whole("episode", index), self.num_episodes
        if not -count <= number < count:
            raise UserError(f"no episode {number}; expected 0 to {count - 1}")
        return number % count

    def _one_per_step(self, columns: Mapping[str, np.ndarray], name: str, index: int) -> np.ndarray:
        """(T,); zeros where the dataset has no such column."""
        length = self.length(index)
        if name not in columns:
            return np.zeros(length)
        return one_per_step(columns[name], length, f"{self.path}: {name} of episode {index}")

    def summary(self) -> dict[str, Any]:
        """What `manyparts data info` prints, as plain JSON values."""
        contents = self.reader.contents
        return {
            "path": self._located(self.path),
            "format": contents.format,
            "fingerprint": self.fingerprint,
            "episodes": self.num_episodes,
            "frames": self.num_frames,
            "fps": self.fps,
            "seconds": self.num_frames / self.fps,
            "megabytes": sum(file.stat().st_size for file in self.reader.files()) / 1e6,
            "images": contents.images,
            "text_columns": list(contents.text_columns),
            "left_out": dict(contents.left_out),
            "episodes_left_out": dict(contents.episodes_left_out),
            "notes": list(contents.notes),
            "spec": self.spec.to_dict(),
            "environment": self.environment,
            "tasks": [contents.summary_of(number) for number in range(len(self.tasks))],
        }


def _matrix(values: np.ndarray, length: int) -> np.ndarray:
    """float32 (T, d)."""
    return values.astype(np.float32).reshape(length, -1)
