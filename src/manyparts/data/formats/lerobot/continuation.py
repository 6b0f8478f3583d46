"""An existing LeRobotDataset that a writer adds episodes to, and its files that stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from manyparts.core.storage.links import link_or_copy
from manyparts.data.formats.files import files_below
from manyparts.data.formats.lerobot import layout

_DESCRIPTIONS = (layout.INFO, layout.STATS, layout.TASKS)


@dataclass(frozen=True)
class Continuation:
    """An existing dataset that a writer adds episodes to."""

    num_episodes: int
    """Its number of episodes."""
    num_frames: int
    """Its number of frames."""
    num_tasks: int
    """Its number of tasks."""
    data_file: tuple[int, int]
    """(chunk, file) numbers of its last data file."""
    video_files: Mapping[str, tuple[int, int]]
    """(chunk, file) numbers of the last file of each video feature."""
    episodes_file: tuple[int, int]
    """(chunk, file) numbers of its last episodes file."""
    expert: str | None
    """Its column of the expert's actions, if it has one."""
    terminates: bool
    """Whether it has a column of whether episodes ended for good."""
    knows_success: bool
    """Whether it has a column of whether the task is solved."""
    knows_reward: bool
    """Whether it has a column of rewards."""
    content: Iterable[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]
    """Columns and sampled images of each episode, read only if there are no `statistics`."""
    statistics: Mapping[str, np.ndarray] | None = None
    """What `DatasetWriter.statistics` returned after its last episode."""


def link_files(path: Path, folder: Path) -> None:
    """Hard-link a dataset's files into `folder`, also those that somebody added; copy them if the
    disk has no hard links. Descriptions are written anew."""
    for file in files_below(path):
        name = file.relative_to(path)
        if name.as_posix() not in _DESCRIPTIONS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file, folder / name)
