"""An existing LeRobotDataset that a writer adds episodes to, and its files that stay."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.storage.atomic import is_full
from manyparts.core.storage.links import link_or_copy
from manyparts.data.formats.files import files_below

_PARTS = ("data", "videos", "meta/episodes")


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
    """Hard-link a dataset's data, videos and episodes into `folder`; copy them if the disk has no
    hard links."""
    for part in _PARTS:
        for file in files_below(path / part):
            target = folder / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file, target)


def keep_others(path: Path, folder: Path) -> None:
    """Give `folder` all that `path` has and it lacks: what others put there, links as links.

    Raises:
        UserError: something can be neither linked nor copied.
    """
    with os.scandir(path) as listed:
        entries = list(listed)
    for entry in entries:
        target = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            target.mkdir(exist_ok=True)
            keep_others(path / entry.name, target)
        elif not os.path.lexists(target):
            _keep(path / entry.name, target)


def _keep(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:  # it went meanwhile
        return
    except OSError:
        try:
            shutil.copy2(source, target, follow_symlinks=False)
        except OSError as error:
            if is_full(error):
                raise
            why = error.strerror or error
            raise UserError(f"{source} can be neither linked nor copied ({why})") from error
