"""Add episodes to a LeRobotDataset that manyparts wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.arguments import path_of
from manyparts.core.columns import EXPERT_ACTION, REWARD, SUCCESS, TERMINATED
from manyparts.core.errors import UserError
from manyparts.core.naming import NAME, own_entry
from manyparts.core.printing import first_of
from manyparts.core.spec import SHOWN_DIFFERENCES, Spec, TaskEntry
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.continuation import Continuation
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.formats.lerobot.writer import DatasetWriter, Images
from manyparts.embodiment.statistics import sample_rows


def append(
    path: str | Path,
    spec: Spec,
    *,
    fps: float,
    tasks: Sequence[TaskEntry],
    environment: Mapping[str, Any],
    statistics: Mapping[str, np.ndarray] | None = None,
    after: DatasetWriter | None = None,
) -> DatasetWriter:
    """Open a writer that adds episodes to a dataset, which changes in one step when it closes.

    Args:
        path: the dataset's folder.
        spec: the robot's cameras, state and actions, as the dataset has them.
        fps: frames per second, as the dataset has them.
        tasks: the tasks of the episodes to come; those that the dataset lacks are added to it.
        environment: the EnvConfig as JSON, as the dataset has it.
        statistics: what `DatasetWriter.statistics` returned when the dataset was last written, so
            that its episodes need not be read again.
        after: the closed writer of its last episodes, so that nothing need be read: an addition
            takes as long for the thousandth episode as for the second. It counts only while the
            dataset is as that writer left it.

    Raises:
        UserError: if spec, rate, environment or a task's instructions differ from the dataset's, or
            another program wrote it.
    """
    path = _behind_links(path_of(path))
    left = after is not None and after.path == path and after.is_as_left()
    existing = _written(after) if after is not None and left else _read(path, statistics)
    _require_equal(path, existing, spec, fps=fps, tasks=tasks, environment=environment)
    known = {task.name for task in existing.tasks}
    return DatasetWriter(
        path,
        spec,
        fps=fps,
        tasks=[*existing.tasks, *(task for task in tasks if task.name not in known)],
        environment=environment,
        images=existing.images,
        continues=existing.continuation,
    )


def _behind_links(path: Path) -> Path:
    """The folder that a path leads to: a link is not exchanged for a folder."""
    return path.resolve() if path.is_symlink() else path


def require_appendable(
    path: str | Path, spec: Spec, *, fps: float, environment: Mapping[str, Any]
) -> None:
    """Raise UserError if `append` would refuse a dataset. Nothing is written.

    Args:
        path: the dataset's folder.
        spec: see `append`.
        fps: see `append`.
        environment: see `append`.
    """
    existing = _read(path_of(path), None)
    _require_equal(path, existing, spec, fps=fps, tasks=(), environment=environment)


def _require_equal(
    path: str | Path,
    existing: _Existing,
    spec: Spec,
    *,
    fps: float,
    tasks: Sequence[TaskEntry],
    environment: Mapping[str, Any],
) -> None:
    """Raise UserError where a dataset differs from what is to be added to it."""
    task_of = {task.name: task for task in existing.tasks}
    differences = existing.spec.differences(spec)
    if existing.fps != fps:
        differences.append(f"fps: {existing.fps:g}, {fps:g}")
    if existing.environment != json.loads(json.dumps(environment)):
        differences.append("environment: another configuration")
    for task in tasks:
        if task_of.get(task.name, task) != task:
            differences.append(f"instructions of {task.name}")
    if differences:
        shown = first_of(differences, SHOWN_DIFFERENCES, separator="; ")
        raise UserError(f"{path} differs from what is to be appended: {shown}")


@dataclass(frozen=True)
class _Existing:
    """A dataset that episodes are added to."""

    spec: Spec
    fps: float
    environment: Mapping[str, Any]
    tasks: Sequence[TaskEntry]
    images: Images
    continuation: Continuation


def _read(path: Path, statistics: Mapping[str, np.ndarray] | None) -> _Existing:
    """What a folder says of its dataset. See `append`."""
    dataset = LeRobotReader(path)
    metadata, contents = dataset.metadata, dataset.contents
    if own_entry(metadata.info) is None:
        raise UserError(f"{path} was not written by {NAME}; episodes cannot be appended")
    if contents.episodes_left_out or contents.episode_names:
        raise UserError(
            f"{path} has episodes that cannot be read; "
            f"run `manyparts data check {path} --fix COPY` first"
        )
    continuation = Continuation(
        num_episodes=len(metadata.lengths),
        num_frames=int(metadata.lengths.sum()),
        num_tasks=len(contents.tasks),
        data_file=metadata.last_files["data"],
        video_files={name: metadata.last_files[f"videos/{name}"] for name in metadata.videos},
        episodes_file=metadata.last_files["meta/episodes"],
        expert=dataset.expert_column,
        terminates=TERMINATED in dataset.features,
        knows_success=SUCCESS in dataset.features,
        knows_reward=REWARD in dataset.features,
        content=_statistics_content(dataset),
        statistics=statistics,
    )
    images: Images = "video" if metadata.videos else "png"
    written = layout.features(
        contents.spec,
        fps=contents.fps,
        images=images,
        expert=continuation.expert,
        terminates=continuation.terminates,
        knows_success=continuation.knows_success,
        knows_reward=continuation.knows_reward,
    )
    if further := sorted(dataset.features.keys() - written.keys()):
        raise UserError(
            f"{path} has columns that no added episode would have: {first_of(further, 5)}; record "
            "into another folder"
        )
    return _Existing(
        spec=contents.spec,
        fps=contents.fps,
        environment=contents.environment,
        tasks=contents.tasks,
        images=images,
        continuation=continuation,
    )


def _written(writer: DatasetWriter) -> _Existing:
    """What a writer knows of its dataset."""
    return _Existing(
        spec=writer.spec,
        fps=writer.fps,
        environment=json.loads(json.dumps(writer.environment)),
        tasks=writer.tasks,
        images=writer.images,
        continuation=writer.continuation(),
    )


def _statistics_content(
    dataset: LeRobotReader,
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """The columns of each episode, and the images that its statistics are computed from."""
    for index, length in enumerate(dataset.contents.lengths.tolist()):
        rows = sample_rows(length)
        cameras = dataset.contents.spec.cameras
        columns = dataset.columns(index)
        if dataset.expert_column is not None:
            columns[dataset.expert_column] = columns[EXPERT_ACTION]
        yield columns, {camera: dataset.frames(index, camera, rows) for camera in cameras}
