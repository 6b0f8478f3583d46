"""The interface of all formats: a description read at opening, episodes read on demand."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from manyparts.core.errors import DatasetWarning
from manyparts.core.printing import first_of, shown_short
from manyparts.core.spec import Spec, TaskEntry
from manyparts.embodiment.statistics import Statistics

# Counts up whenever a dataset is read differently, so that caches made from it are rebuilt.
FORMAT = 2
_MAX_SHOWN = 5


@shown_short
@dataclass(frozen=True)
class Contents:
    """The description of a dataset of n episodes."""

    format: str
    """The format's name for people, such as "LeRobotDataset v3.0"."""
    spec: Spec
    """The robot's cameras, state and actions."""
    fps: float
    """Frames per second."""
    tasks: tuple[TaskEntry, ...]
    """All tasks, in order of their index."""
    lengths: np.ndarray
    """int64 (n,), frames per episode."""
    episode_task: np.ndarray
    """int64 (n,), index into `tasks`."""
    statistics: Statistics
    """Statistics of the columns by their names in `core.columns`."""
    images: str
    """How images are stored, for people, such as "png"."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """The EnvConfig as JSON; {} where another program wrote the dataset."""
    seeds: np.ndarray | None = None
    """int64 (n,), the environment's reset seeds; -1 where unknown."""
    noisy: np.ndarray | None = None
    """bool (n,), episodes in which an action other than the expert's was executed."""
    succeeded: np.ndarray | None = None
    """bool (n,), whether each episode succeeded; None where the dataset does not store it."""
    terminated: np.ndarray | None = None
    """bool (n,), whether each episode ended for good; None where the dataset does not store it."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Features that are not read, and why: {"observation.images.depth": "16-bit depth"}."""
    text_columns: tuple[str, ...] = ()
    """Columns with a text per row, which are read where they are asked for, see `TextReader`."""
    episodes_left_out: Mapping[str, str] = field(default_factory=dict)
    """Episodes that are not among the n, by the dataset's names for them, and why."""
    episode_names: tuple[str, ...] = ()
    """The dataset's names of the n episodes, such as "demo_3"; empty: they are 0 to n - 1."""
    options: str = ""
    """The options behind the location that change what is read, such as "@jpeg=rgb"."""
    notes: tuple[str, ...] = ()
    """What else a user has to know, one line each: splits that were joined, texts dropped."""
    plugins: Mapping[str, str] = field(default_factory=dict)
    """The plug-ins that it is of, as `core.plugins.used` returns them."""

    def name_of(self, index: int) -> str:
        """The dataset's name of one of the n episodes."""
        return self.episode_names[index] if self.episode_names else str(index)

    def summary_of(self, number: int) -> dict[str, Any]:
        """What `manyparts data info` prints of a task, as JSON values. number: the task's index."""
        task, episodes = self.tasks[number], np.flatnonzero(self.episode_task == number)
        lengths = self.lengths[episodes]
        success = None
        if len(episodes) and self.succeeded is not None:
            success = float(self.succeeded[episodes].mean())
        return {
            "task": task.name,
            "instruction": task.instruction,
            "paraphrases": len(task.paraphrases),
            "episodes": len(episodes),
            "frames": int(lengths.sum()),
            "mean_length": float(lengths.mean()) if len(episodes) else 0.0,
            "success": success,
            "noisy_episodes": 0 if self.noisy is None else int(self.noisy[episodes].sum()),
        }

    def warnings(self) -> list[str]:
        """A line for everything in the files that is not read, or not read as one may expect."""
        lines = []
        if self.episodes_left_out:
            lines.append(f"left out episodes {_with_reasons(self.episodes_left_out)}")
        if self.left_out:
            lines.append(f"left out {_with_reasons(self.left_out)}")
        return [*lines, *self.notes]

    def warn(self, location: str, *, stacklevel: int) -> None:
        """Issue a `DatasetWarning` for each of `warnings`.

        Args:
            location: the dataset, as it was typed.
            stacklevel: see `warnings.warn`.
        """
        for text in self.warnings():
            warnings.warn(f"{location}: {text}", DatasetWarning, stacklevel=stacklevel)


def notes_of_files(notes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The notes of several files, each once; one that not all files have begins with their names.

    Args:
        notes: the notes of each file, by its name.
    """
    files_with: dict[str, list[str]] = {}
    for file, of_file in notes.items():
        for note in of_file:
            files_with.setdefault(note, []).append(file)
    return tuple(
        note if len(files) == len(notes) else f"{first_of(files, _MAX_SHOWN)}: {note}"
        for note, files in files_with.items()
    )


def _with_reasons(reasons: Mapping[str, str]) -> str:
    """The first five names with their reasons, and how many more there are."""
    return first_of([f"{name} ({why})" for name, why in reasons.items()], _MAX_SHOWN)


@runtime_checkable
class Reader(Protocol):
    """An opened dataset of one format, read-only.

    A reader can be used by several threads at once and pickled to another process.
    """

    path: Path
    """The dataset's file or folder."""
    contents: Contents
    """The dataset's description."""

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """Read one episode's numbers.

        Returns:
            Column name (those of `core.columns`, and others of the format) to (T,) or (T, d), in
            the stored dtype.

        Raises:
            UserError: naming the file that is torn.
        """
        ...

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        """Read some images of one episode and camera.

        Args:
            index: the episode.
            camera: the camera's name.
            rows: (n,), steps of the episode, ascending.

        Returns:
            uint8 (n, h, w, 3).

        Raises:
            UserError: naming the file that is torn.
        """
        ...

    def files(self) -> Iterator[Path] | Sequence[Path]:
        """All files that hold the dataset's content."""
        ...


@runtime_checkable
class TextReader(Protocol):
    """A reader of a dataset that may have a text per row, such as the subtask."""

    def texts(self, index: int, column: str) -> list[str | None]:
        """Read the text of each row of one episode.

        Args:
            index: the episode.
            column: one of `Contents.text_columns`.

        Returns:
            T texts; None for a row that has none.

        Raises:
            UserError: naming the file that is torn, or the row that contradicts itself.
        """
        ...


@runtime_checkable
class Remote(Protocol):
    """A reader that fetches files from a store when they are read."""

    url: str
    """The dataset's address."""
