"""Adds episodes to a LeRobotDataset that this project wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.arguments import path_of
from manyparts.core.columns import EXPERT_ACTION
from manyparts.core.errors import UserError
from manyparts.core.naming import NAME, own_entry
from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.formats.lerobot.writer import Continuation, DatasetWriter
from manyparts.embodiment.statistics import sample_rows


def append(
    path: str | Path,
    spec: Spec,
    *,
    fps: float,
    tasks: Sequence[TaskEntry],
    environment: Mapping[str, Any],
    statistics: Mapping[str, np.ndarray] | None = None,
) -> DatasetWriter:
    """A writer that adds episodes to the dataset at `path`, which changes in one step when the
    writer closes.

    Tasks the dataset does not know yet are added to its own. statistics: what
    `DatasetWriter.statistics` gave when it was last written, so that it need not be read again.
    Raises UserError if spec, rate, environment or a task's instructions differ from the dataset's,
    or it was not written by us.
    """
    dataset = LeRobotReader(path_of(path))
    if own_entry(dataset.metadata.info) is None:
        raise UserError(f"{path} was not written by {NAME}; episodes cannot be appended")
    if dataset.contents.episodes_left_out or dataset.contents.episode_names:
        raise UserError(
            f"{path} has episodes that cannot be read; `manyparts data check {path} --fix COPY` first"
        )
    known, ours = dataset.contents, {task.name: task for task in dataset.contents.tasks}
    differences = known.spec.differences(spec)
    differences += [] if known.fps == fps else [f"fps: {known.fps:g}, {fps:g}"]
    if known.environment != json.loads(json.dumps(environment)):
        differences.append("environment: another configuration")
    differences += [
        f"instructions of {task.name}" for task in tasks if ours.get(task.name, task) != task
    ]
    if differences:
        raise UserError(f"{path} differs from what is to be appended: {'; '.join(differences)}")
    return DatasetWriter(
        path,
        spec,
        fps=fps,
        tasks=[*known.tasks, *(task for task in tasks if task.name not in ours)],
        environment=environment,
        images="video" if dataset.metadata.videos else "png",
        continues=_continuation(dataset, statistics),
    )


def _continuation(
    dataset: LeRobotReader, statistics: Mapping[str, np.ndarray] | None
) -> Continuation:
    metadata = dataset.metadata
    return Continuation(
        num_episodes=len(metadata.lengths),
        num_frames=int(metadata.lengths.sum()),
        data_file=metadata.places["data"],
        video_files={name: metadata.places[f"videos/{name}"] for name in metadata.videos},
        episodes_file=metadata.places["meta/episodes"],
        expert=dataset.expert_column,
        content=_statistics_content(dataset),
        statistics=statistics,
    )


def _statistics_content(
    dataset: LeRobotReader,
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    for index, length in enumerate(dataset.contents.lengths.tolist()):
        rows = sample_rows(length)
        cameras = dataset.contents.spec.cameras
        columns = dataset.columns(index)
        if dataset.expert_column is not None:
            columns[dataset.expert_column] = columns[EXPERT_ACTION]
        yield columns, {camera: dataset.frames(index, camera, rows) for camera in cameras}
