"""Checks of single episodes: rows, indices, actions, images, copies of other episodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.tools.bounds import outside_bounds
from manyparts.data.tools.findings import Severity
from manyparts.data.tools.inspection import LEAVES_OUT, RECOMPUTES, Inspection
from manyparts.data.tools.outliers import Outliers
from manyparts.embodiment.statistics import RunningStatistics, sample_rows

_MOTION_EPISODES, _MOTION_ROWS = 200, 400
_NUMBERS = (STATE, ACTION, EXPERT_ACTION)  # columns that are looked at number by number


def check_episode(
    dataset: EpisodeDataset, index: int, inspection: Inspection, *, every_frame: bool
) -> None:
    """Read an episode and add what is wrong with it to the inspection.

    Args:
        dataset: the dataset.
        index: the episode.
        inspection: collects the findings.
        every_frame: decode all images rather than up to eight.
    """
    columns = _checked_columns(dataset, index, inspection)
    if columns is None:
        return
    length = dataset.length(index)
    _check_indices(dataset, index, columns, inspection)
    _check_actions(dataset, index, columns, inspection)
    _collect(index, columns, length, inspection)
    _check_texts(dataset, index, inspection)
    if STATE in columns and index % max(1, dataset.num_episodes // _MOTION_EPISODES) == 0:
        state, action = (
            columns[name].reshape(length, -1)[:_MOTION_ROWS].copy() for name in (STATE, ACTION)
        )
        inspection.motion.append((state, action))
    content = hashlib.sha256(
        columns[ACTION].tobytes() + columns.get(STATE, columns[ACTION]).tobytes()
    )
    for frames in _check_frames(dataset, index, inspection, every_frame=every_frame):
        content.update(frames.tobytes())
    first = inspection.first_with.setdefault(content.digest(), index)
    if first != index and index not in inspection.broken:
        inspection.broken.add(index)
        inspection.report(
            "duplicates",
            "warning",
            "an earlier episode holds the same",
            LEAVES_OUT,
            inspection.where(index),
        )


def _checked_columns(
    dataset: EpisodeDataset, index: int, inspection: Inspection
) -> dict[str, np.ndarray] | None:
    """An episode's columns; None if they are broken, which is reported."""
    length = dataset.length(index)
    if not length:
        inspection.report_broken("empty episode", "it has no frames", index)
        return None
    try:
        columns = dataset.columns(index)
    except UserError as error:
        inspection.report_broken("torn file", str(error), index)
        return None
    short = [name for name, values in columns.items() if len(values) != length]
    if short:
        what = f"{', '.join(short)} have fewer rows than the metadata counts"
        inspection.report_broken("rows", what, index)
        return None
    if mismatches := list(_schema_mismatches(dataset, columns)):
        inspection.report_broken("schema", "; ".join(mismatches), index)
        return None
    not_finite = [
        name
        for name, values in columns.items()
        if values.dtype.kind == "f" and not np.isfinite(values).all()
    ]
    if not_finite:
        what = f"{', '.join(not_finite)} hold NaN or infinity"
        inspection.report_broken("not a number", what, index)
        return None
    return columns


def _collect(
    index: int, columns: Mapping[str, np.ndarray], length: int, inspection: Inspection
) -> None:
    """Add an episode's numbers to statistics, jumps and outliers."""
    for name, values in columns.items():
        if values.dtype.kind not in "fiub":
            continue
        rows = values.reshape(length, -1).astype(np.float64)
        inspection.statistics.setdefault(name, RunningStatistics(rows.shape[1])).update(rows)
        if name in _NUMBERS and rows.shape[1]:
            inspection.jumps.add(name, index, rows)
            inspection.outliers.setdefault(name, Outliers(rows.shape[1])).add(index, rows)


def _schema_mismatches(dataset: EpisodeDataset, columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Columns that hold something else than a LeRobotDataset's info.json says, whatever their
    precision."""
    features = dataset.reader.features if isinstance(dataset.reader, LeRobotReader) else {}
    for name, feature in features.items():
        if name not in columns or len(feature["shape"]) > 1:
            continue
        values, dtype = columns[name], np.dtype(feature["dtype"])
        width, expected = values[0].size, int(np.prod(feature["shape"]))
        if values.dtype.kind != dtype.kind or width != expected:
            yield (
                f"{name} holds {width} {values.dtype} per row, "
                f"{layout.INFO} says {expected} {dtype}"
            )


def _check_indices(
    dataset: EpisodeDataset, index: int, columns: Mapping[str, np.ndarray], inspection: Inspection
) -> None:
    """Check those of LeRobot's index columns that exist."""
    reader = dataset.reader
    if not isinstance(reader, LeRobotReader):
        return
    contents, where = reader.contents, inspection.where(index)
    rows = np.arange(dataset.length(index))
    expected = {
        "frame_index": rows,
        "episode_index": np.full_like(rows, int(contents.name_of(index))),
    }
    if "index" in columns:
        # Where episodes are missing, "index" may have counted their rows: it may begin anywhere.
        complete = not contents.episode_names and not contents.episodes_left_out
        first = dataset.starts[index] if complete else columns["index"].reshape(-1)[0]
        expected["index"] = rows + first
    wrong = [name for name, values in expected.items() if not _equal(columns.get(name), values)]
    if "task_index" in columns:
        allowed = list(reader.tasks_of(index))
        if not np.isin(columns["task_index"], allowed).all():
            wrong.append("task_index")
    for name in wrong:
        what = f"{name} does not count as it should"
        inspection.report("indices", "error", what, RECOMPUTES, where)
    if "timestamp" in columns:
        off = np.abs(columns["timestamp"].reshape(-1) - rows / dataset.fps)
        if off.max() > max(1e-4, 0.1 / dataset.fps):
            what = f"timestamps are not frame_index / fps ({dataset.fps:g})"
            inspection.report("timestamps", "error", what, RECOMPUTES, where)


def _equal(values: np.ndarray | None, expected: np.ndarray) -> bool:
    """Whether a column has the expected values; a column that does not exist has."""
    return values is None or np.array_equal(values.reshape(-1), expected)


def _check_actions(
    dataset: EpisodeDataset, index: int, columns: Mapping[str, np.ndarray], inspection: Inspection
) -> None:
    """Check whether actions are within their bounds, or among their choices."""
    contract = dataset.spec.action
    low, high = contract.low, contract.high
    for name in (ACTION, EXPERT_ACTION):
        values = columns.get(name)
        if values is None:
            continue
        values = values.reshape(-1, len(low))
        outside = outside_bounds(contract, values)
        if contract.choices and outside.any():
            row, number = np.argwhere(outside)[0].tolist()
            choices = f"which is none of the choices 0 to {len(contract.choices) - 1}"
            what = f"{name} is {values[row, number]:g} in row {row}, {choices}"
            inspection.report_broken("choices", what, index)
            continue
        remedy = "--fix clips it, or correct the contract"
        severity: Severity = "error"
        if contract.measured:
            remedy = "--fix measures the bounds again"
            if name == EXPERT_ACTION:  # measured bounds of executed actions allow others
                severity = "warning"
        for dimension in np.flatnonzero(outside.any(axis=0)):
            bounds = f"[{low[dimension]:g}, {high[dimension]:g}]"
            what = f"{name} {contract.names[dimension]} leaves {bounds}"
            inspection.report("action bounds", severity, what, remedy, inspection.where(index))


def _check_texts(dataset: EpisodeDataset, index: int, inspection: Inspection) -> None:
    """Report text columns that contradict themselves. The episode can be read without them."""
    for column in dataset.reader.contents.text_columns:
        try:
            dataset.texts(index, column)
        except UserError as error:
            remedy = "correct it, or do not take instructions from it"
            inspection.report("texts", "warning", str(error), remedy, inspection.where(index))


def _check_frames(
    dataset: EpisodeDataset, index: int, inspection: Inspection, *, every_frame: bool
) -> Iterator[np.ndarray]:
    """Check an episode's images, and yield those of each camera until one cannot be decoded."""
    rows = np.arange(dataset.length(index)) if every_frame else sample_rows(dataset.length(index))
    for camera in dataset.spec.cameras:
        try:
            frames = dataset.frames(index, camera, rows)
        except UserError as error:
            return inspection.report_broken("images", str(error), index)
        if len(frames) != len(rows):
            what = f"{camera} has {len(frames)} frames for {len(rows)} rows"
            return inspection.report_broken("images", what, index)
        if len(frames) > 2 and not frames.any():
            what, remedy = f"{camera} is black", "look at the camera"
            inspection.report("images", "warning", what, remedy, inspection.where(index))
        yield frames
