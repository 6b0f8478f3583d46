"""Write the rows of an edited dataset: all columns as they are, but those that number the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manyparts.core.errors import UserError
from manyparts.core.storage.links import copy_content, link_or_copy
from manyparts.data.formats.errors import one_line
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.files import TableFiles
from manyparts.data.formats.lerobot.images import content_of
from manyparts.data.formats.lerobot.values import whole_column
from manyparts.data.tools.editing.plan import Plan, PlannedEpisode, Step
from manyparts.data.tools.editing.statistics import RowStatistics, image_features, statistics_of
from manyparts.data.tools.editing.subtasks import SUBTASK, Subtasks

_MAX_SETTING = 1e6
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class WrittenRows:
    """The rows of a dataset that has been written."""

    statistics: RowStatistics | None = None
    """Statistics of all numbers; None if no row changed."""
    columns: dict[str, dict[int, Any]] = field(default_factory=dict)
    """The columns of meta/episodes that say where each episode is, by the episode's new number."""
    without_task: list[str] = field(default_factory=list)
    """Episodes, as they were recorded, with rows of a task that meta/tasks lacks."""
    numbered: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The statistics of the columns that got new numbers, by the episode's new number."""


def write_rows(plan: Plan, subtasks: Subtasks, folder: Path, step: Step) -> WrittenRows:
    """Write the rows of all episodes, each as a row group of its own.

    Args:
        plan: what is written.
        subtasks: the new numbers of subtasks.
        folder: the folder of the dataset.
        step: called after each episode.

    Raises:
        UserError: naming the file that is torn, or an image that is missing.
        OSError: the disk is full.
    """
    source = plan.first
    written = WrittenRows(RowStatistics(source.features, source.statistics))
    assert written.statistics is not None
    files = TableFiles(
        folder,
        megabytes=_setting(source.info, "data_files_size_in_mb"),
        files_per_chunk=_setting(source.info, "chunks_size"),
    )
    starts = plan.starts.tolist()
    try:
        for number, episode in enumerate(plan.episodes):
            table = _with_images(episode.source.read(episode.position), episode)
            values = {
                "episode_index": np.full(episode.length, number),
                "index": starts[number] + np.arange(episode.length),
                "task_index": _task_indices(table, episode, written),
            }
            if SUBTASK in table.column_names and subtasks.changes(episode.source):
                values[SUBTASK] = subtasks.indices(episode.source, table)
            for name, column in values.items():
                table = _replaced(table, name, column, source.features)
            written.numbered[number] = {
                name: statistics_of(column) for name, column in values.items()
            }
            written.statistics.add(table)
            chunk, file = files.add(table)
            _locate(written, number, (chunk, file), (starts[number], starts[number + 1]))
            step()
    finally:
        files.close()
    return written


def keep_rows(plan: Plan, folder: Path, *, link: bool, step: Step) -> WrittenRows:
    """Take the data files as they are, for a plan that keeps all rows.

    Args:
        plan: what is written.
        folder: the folder of the dataset.
        link: whether the files may be hard links, since the source goes away.
        step: called after each episode.

    Raises:
        OSError: the disk is full.
    """
    written, number_of = WrittenRows(), dict[Path, tuple[int, int]]()
    for number, (episode, start) in enumerate(
        zip(plan.episodes, plan.starts.tolist(), strict=False)
    ):
        (part,) = episode.source.parts[episode.position]
        if part.file not in number_of:
            numbers = list(number_of.values())
            number_of[part.file] = layout.next_file(*(numbers[-1] if numbers else (0, -1)))
            chunk, file = number_of[part.file]
            target = folder / layout.DATA.format(chunk_index=chunk, file_index=file)
            target.parent.mkdir(parents=True, exist_ok=True)
            (link_or_copy if link else copy_content)(part.file, target)
        _locate(written, number, number_of[part.file], (start, start + episode.length))
        step()
    return written


def _locate(
    written: WrittenRows, number: int, file: tuple[int, int], span: tuple[int, int]
) -> None:
    """Note in which file and rows an episode is."""
    values = {
        "data/chunk_index": file[0],
        "data/file_index": file[1],
        "dataset_from_index": span[0],
        "dataset_to_index": span[1],
    }
    for name, value in values.items():
        written.columns.setdefault(name, {})[number] = value


def _setting(info: Mapping[str, Any], name: str) -> Any:
    """A positive number of info.json; None for anything else."""
    value = info.get(name)
    if isinstance(value, int | float) and 1 <= value < _MAX_SETTING:
        return value
    return None


def _task_indices(table: pa.Table, episode: PlannedEpisode, written: WrittenRows) -> np.ndarray:
    """int64 (T,), the new task_index of each row.

    A row with a task that meta/tasks lacks gets the one that the episode is read with.
    """
    name, rows = "task_index", np.full(episode.length, episode.task)
    parts = episode.source.parts[episode.position]
    if episode.only is not None or any(part.tasks is None for part in parts):
        return rows
    former = whole_column(table, name, f"{parts[0].file}: {name}")
    for value in np.unique(former).tolist():
        task = episode.source.metadata.tasks.positions.get(value)
        if task is not None:
            rows[former == value] = episode.indices[task]
        elif episode.source.names[episode.position] not in written.without_task:
            written.without_task.append(episode.source.names[episode.position])
    return rows


def _replaced(
    table: pa.Table, name: str, values: np.ndarray, features: Mapping[str, Any]
) -> pa.Table:
    """A table with other whole numbers in a column, which is added if info.json has it."""
    column = pa.array(values, pa.int64())
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), pa.field(name, pa.int64()), column)
    return table.append_column(name, column) if name in features else table


def _with_images(table: pa.Table, episode: PlannedEpisode) -> pa.Table:
    """The table with the images themselves, where rows name their files."""
    root = episode.source.path
    for name in image_features(episode.source.features):
        if name not in table.column_names or not _names_files(table[name]):
            continue
        images = []
        for row, image in enumerate(table[name].to_pylist()):
            path = image.get("path") if isinstance(image, dict) else image
            try:
                images.append({"bytes": content_of(image, root), "path": path})
            except (OSError, TypeError) as error:
                where = f"{root}: episode {episode.source.names[episode.position]}, frame {row}"
                raise UserError(f"{where}: no image {name}: {one_line(error)}") from error
        column = pa.array(images, _IMAGE)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _names_files(column: pa.ChunkedArray) -> bool:
    """Whether a column of images holds names of files for some."""
    if pa.types.is_struct(column.type):
        if column.type.get_field_index("bytes") < 0:
            return True
        return any(chunk.field("bytes").null_count for chunk in column.chunks)
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
