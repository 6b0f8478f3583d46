"""Datasets of episodes on disk, whatever their format: open, read, append."""

from __future__ import annotations

import hashlib
import multiprocessing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.arguments import whole
from manyparts.core.columns import ACTION, EXPERT_ACTION, REWARD, STATE, SUCCESS
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.printing import html_table
from manyparts.core.records import Episode
from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.formats.arrays import one_a_step
from manyparts.data.formats.lerobot.appending import append
from manyparts.data.formats.lerobot.writer import DatasetWriter
from manyparts.data.formats.reader import Reader, Remote
from manyparts.data.locations import open_location

__all__ = ["DatasetWriter", "EpisodeDataset", "TaskEntry", "append"]


class EpisodeDataset:
    """An opened dataset: what it holds is known, frames stay on disk until asked for.
    `EpisodeDataset.open(path)`.

    It is a sequence of episodes: `dataset[0]`, `len(dataset)`, `for episode in dataset`.

    spec: the embodiment. fps: frames a second. environment: the EnvConfig as JSON, {} for foreign
    datasets. tasks: the tasks, in order of their index. starts: int64 (num_episodes + 1,), first
    frame of each episode. episode_task: int64 (num_episodes,), index into `tasks`. statistics: a
    feature's minimum, mean and so on.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader, self.path = reader, reader.path
        known = reader.contents
        self.spec, self.fps, self.tasks = known.spec, known.fps, known.tasks
        self.statistics, self.environment = known.statistics, dict(known.environment)
        self.episode_task = known.episode_task
        self.starts = np.concatenate([[0], known.lengths.cumsum()]).astype(np.int64)
        self.num_episodes, self.num_frames = len(known.lengths), int(self.starts[-1])

    def __repr__(self) -> str:
        where = self.reader.url if isinstance(self.reader, Remote) else str(self.path)
        tasks = f"{len(self.tasks)} task{'s' if len(self.tasks) != 1 else ''}"
        return (
            f"EpisodeDataset({where!r}: {self.num_episodes} episodes, {self.num_frames} frames at {self.fps:g} Hz, "
            f"{tasks}; {self.spec.summary()})"
        )

    def _repr_html_(self) -> str:
        lengths = np.diff(self.starts)
        rows = [
            (task.name, task.instruction, int(own.sum()), int(lengths[own].sum()))
            for number, task in enumerate(self.tasks)
            for own in [self.episode_task == number]
        ]
        return html_table(repr(self), ("task", "instruction", "episodes", "frames"), rows)

    @classmethod
    def open(cls, location: str | Path | EpisodeDataset) -> EpisodeDataset:
        """Open a dataset where it lies, of any format that can be read (docs/reference/other-formats.md): a
        path, "hf://owner/name@revision", or a URL of fsspec's. One that is open already is returned
        as it is.

        Warns (`DatasetWarning`) of what lies there and is left out. Raises UserError naming the
        file that is missing, torn, or disagrees with another.
        """
        if isinstance(location, EpisodeDataset):
            return location
        dataset = cls(open_location(location))
        if multiprocessing.parent_process() is None:
            for text in dataset.reader.contents.warnings():
                warnings.warn(f"{location}: {text}", DatasetWarning, stacklevel=2)
        return dataset

    @property
    def location(self) -> str:
        """What `open` finds it by from any folder: its absolute path, or its URL."""
        return self.reader.url if isinstance(self.reader, Remote) else str(self.path.resolve())

    @property
    def is_remote(self) -> bool:
        """Whether its files are fetched when they are read."""
        return isinstance(self.reader, Remote)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names and contents of all files that hold the dataset's content, in
        hexadecimal."""
        whole, root = hashlib.sha256(), self.path if self.path.is_dir() else self.path.parent
        for file in sorted(self.reader.files()):
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            whole.update(f"{file.relative_to(root).as_posix()} {digest}\n".encode())
        return whole.hexdigest()

    def bounded_as(self, spec: Spec) -> EpisodeDataset:
        """The same dataset as an agent of this spec takes it: by its name, and see
        `Spec.bounded_as`."""
        return self._with_spec(self.spec.bounded_as(spec).called_as(spec))

    def of_embodiment(self, name: str) -> EpisodeDataset:
        """The same dataset of the robot of this name."""
        return self._with_spec(replace(self.spec, embodiment=name, named=True))

    def _with_spec(self, spec: Spec) -> EpisodeDataset:
        same = copy(self)
        same.spec = spec
        return same

    def __len__(self) -> int:
        """Episodes."""
        return self.num_episodes

    def __getitem__(self, index: int) -> Episode:
        return self.episode(index)

    def __iter__(self) -> Iterator[Episode]:
        return map(self.episode, range(self.num_episodes))

    def episode(self, index: int) -> Episode:
        """Decode one episode; -1 is the last one. Raises UserError naming the file where it is
        torn."""
        index = self._number(index)
        columns = self.columns(index)
        length = self.length(index)
        task = self.tasks[self.episode_task[index]]
        action = _matrix(columns[ACTION], length)
        return Episode(
            task=task.name,
            instruction=task.instruction,
            seed=self.seed(index),
            images={camera: self.frames(index, camera) for camera in self.spec.cameras},
            state=_matrix(columns[STATE], length)
            if self.spec.state_names
            else np.zeros((length, 0), np.float32),
            action=action,
            expert_action=_matrix(columns.get(EXPERT_ACTION, action), length),
            reward=self.rewards(index, columns),
            success=self._one_a_step(columns, SUCCESS, index).astype(bool),
        )

    def length(self, index: int) -> int:
        """Frames of one episode."""
        index = self._number(index)
        return int(self.starts[index + 1] - self.starts[index])

    def seed(self, index: int) -> int:
        """The environment's reset seed of one episode; -1 where a foreign dataset does not know."""
        seeds = self.reader.contents.seeds
        return -1 if seeds is None else int(seeds[self._number(index)])

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """One episode's numbers: feature name to (T,) or (T, d), in the stored dtype."""
        return self.reader.columns(self._number(index))

    @cached_property
    def has_rewards(self) -> bool:
        """As its first episode has."""
        return bool(self.num_episodes) and REWARD in self.columns(0)

    def rewards(self, index: int, columns: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """One episode's rewards, float32 (T,); zeros where the dataset has none. columns: the
        episode's, if they are read already. Raises UserError where there are several a step."""
        return self._one_a_step(
            self.columns(index) if columns is None else columns, REWARD, index
        ).astype(np.float32)

    def frames(
        self, index: int, camera: str, rows: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """One episode's images of one camera, uint8 (T, h, w, 3), or those of some rows of it,
        ascending."""
        index, length = self._number(index), self.length(index)
        if camera not in self.spec.cameras:
            raise UserError(
                f"{self.path} has no camera {camera!r}; choices: {', '.join(self.spec.cameras) or 'none'}"
            )
        rows = np.arange(length) if rows is None else np.asarray(rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < length:
            raise UserError(
                f"rows {rows.min()} to {rows.max()} of episode {index}; expected 0 to {length - 1}"
            )
        frames = self.reader.frames(index, camera, rows)
        expected = (*self.spec.cameras[camera], 3)
        if frames.shape[1:] != expected:
            raise UserError(
                f"{self.path}: episode {index} has images {camera!r} of {frames.shape[1:]}, not {expected}"
            )
        return frames

    def _number(self, index: int) -> int:
        """An episode's number from 0 on; negative ones count from the end, as in a list."""
        number, count = whole("episode", index), self.num_episodes
        if not -count <= number < count:
            raise UserError(f"no episode {number}; expected 0 to {count - 1}")
        return number % count

    def _one_a_step(self, columns: Mapping[str, np.ndarray], name: str, index: int) -> np.ndarray:
        """(T,); zeros where the dataset has no such column."""
        length = self.length(index)
        where = f"{self.path}: {name} of episode {index}"
        return one_a_step(columns[name], length, where) if name in columns else np.zeros(length)

    def summary(self) -> dict[str, Any]:
        """What `manyparts data info` prints: plain values, JSON-ready."""
        known, tasks = self.reader.contents, []
        succeeded = known.succeeded
        for number, task in enumerate(self.tasks):
            chosen = np.flatnonzero(self.episode_task == number)
            lengths = known.lengths[chosen]
            row = {
                "task": task.name,
                "instruction": task.instruction,
                "paraphrases": len(task.paraphrases),
                "episodes": len(chosen),
                "frames": int(lengths.sum()),
                "mean_length": float(lengths.mean()) if len(chosen) else 0.0,
                "success": float(succeeded[chosen].mean())
                if len(chosen) and succeeded is not None
                else None,
                "noisy_episodes": 0 if known.noisy is None else int(known.noisy[chosen].sum()),
            }
            tasks.append(row)
        return {
            "path": self.reader.url if isinstance(self.reader, Remote) else str(self.path),
            "format": known.format,
            "fingerprint": self.fingerprint,
            "episodes": self.num_episodes,
            "frames": self.num_frames,
            "fps": self.fps,
            "seconds": self.num_frames / self.fps,
            "megabytes": sum(file.stat().st_size for file in self.reader.files()) / 1e6,
            "images": known.images,
            "left_out": dict(known.left_out),
            "episodes_left_out": dict(known.episodes_left_out),
            "notes": list(known.notes),
            "spec": self.spec.to_dict(),
            "environment": self.environment,
            "tasks": tasks,
        }


def _matrix(values: np.ndarray, length: int) -> np.ndarray:
    return values.astype(np.float32).reshape(length, -1)
