"""Describe a LeRobotDataset by its metadata and its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.spec import Spec
from manyparts.data.formats.lerobot import derived_spec, layout
from manyparts.data.formats.lerobot.features import Plan
from manyparts.data.formats.lerobot.locating import DataFile, first_task
from manyparts.data.formats.lerobot.metadata import Metadata, first_numbers
from manyparts.data.formats.lerobot.searching import SearchResult
from manyparts.data.formats.reader import Contents
from manyparts.embodiment.statistics import RunningStatistics, Statistics


def restricted_to_files(plan: Plan, features: Mapping[str, Any], files: Sequence[DataFile]) -> Plan:
    """The plan without the features that are not in all data files.

    Args:
        plan: how the features are read.
        features: the description of each feature in info.json, by name.
        files: the content of the data files, one at least.

    Returns:
        The plan. Its `left_out` has the reason for each of them, and names the columns that
        info.json does not describe.
    """
    numbers = frozenset.intersection(*(file.numbers for file in files))
    others = frozenset.intersection(*(file.others for file in files))
    columns = frozenset.union(*(file.numbers | file.others for file in files))
    stored = [name for name in plan.cameras.values() if features[name]["dtype"] == "image"]
    absent = [
        name for name in (*plan.further, plan.expert) if name is not None and name not in numbers
    ]
    absent += [name for name in stored if name not in others]
    undeclared = sorted(columns - features.keys() - layout.STANDARD.keys())
    left_out = dict.fromkeys(absent, "not in all data files")
    return plan.without(
        left_out | dict.fromkeys(undeclared, "not among the features of meta/info.json")
    )


def statistics_of(
    metadata: Metadata,
    plan: Plan,
    features: Mapping[str, Any],
    where: Path,
    read: Iterable[Callable[[], Any]] | None,
) -> tuple[Statistics, list[str]]:
    """The statistics of state and actions: the stored ones, or computed from all rows.

    Args:
        metadata: the dataset's metadata.
        plan: how features are read.
        features: the features of info.json.
        where: the dataset's folder.
        read: functions that return each episode's columns; None: they cannot be read now.

    Returns:
        The statistics, and notes for users. They are computed where the stored ones lack state,
        actions or some episodes.
    """
    stored = plan.statistics(metadata.statistics)
    widths = {ACTION: _width(features, (plan.action,))}
    if plan.state:
        widths[STATE] = _width(features, plan.state)
    # Where rows cannot be read, the bounds of actions are those of the executed ones alone.
    if plan.expert is not None and read is not None:
        widths[EXPERT_ACTION] = widths[ACTION]
    missing = [
        name
        for name, width in widths.items()
        if name not in stored.features or len(stored[name].min) != width
    ]
    if not missing and metadata.stale is None:
        return stored, []
    if read is None:
        if missing:
            raise UserError(f"{where / layout.STATS} has no statistics of {', '.join(missing)}")
        return stored, [f"{metadata.stale}; the statistics are those of the others"]
    why = metadata.stale or f"{layout.STATS} has no statistics of {', '.join(missing)}"
    computed = _computed(read, list(widths), where)
    note = f"{why}; the statistics were computed from the rows"
    return Statistics({**stored.features, **computed}), [note]


def describe(
    path: Path,
    own: Mapping[str, Any],
    metadata: Metadata,
    plan: Plan,
    result: SearchResult,
    statistics: Statistics,
) -> Contents:
    """Put the description of a dataset together.

    Args:
        path: the dataset's folder.
        own: what manyparts wrote into info.json; {} where another program wrote the dataset.
        metadata: the metadata of the episodes that are read.
        plan: how features are read.
        result: where the episodes are.
        statistics: of state and actions.

    Raises:
        UserError: if manyparts' own description disagrees with the features.
    """
    features = metadata.info["features"]
    kinds = {features[name]["dtype"] for name in plan.cameras.values()}
    images = sorted("png" if kind == "image" else kind for kind in kinds)
    sizes = derived_spec.camera_sizes(features, plan)
    if own:
        spec = Spec.from_dict(own["spec"])
    else:
        spec = derived_spec.derive_spec(metadata.info, plan, statistics, metadata.fps)
    if dict(spec.cameras) != sizes:
        raise UserError(
            f"{path / layout.INFO} describes cameras {dict(spec.cameras)}; its features are {sizes}"
        )
    are_counted = np.array_equal(metadata.numbers, np.arange(len(metadata.numbers)))
    return Contents(
        format=f"LeRobotDataset {metadata.info['codebase_version']}",
        spec=spec,
        fps=metadata.fps,
        tasks=metadata.tasks.entries,
        lengths=metadata.lengths,
        episode_task=result.tasks,
        statistics=statistics,
        images=", ".join(images) or "none",
        environment=dict(own.get("environment", {})),
        seeds=metadata.seeds,
        noisy=metadata.noisy,
        succeeded=metadata.succeeded,
        terminated=metadata.terminated,
        left_out=plan.left_out,
        episodes_left_out=result.lost,
        episode_names=() if are_counted else tuple(map(str, metadata.numbers)),
        notes=(
            *result.notes,
            *plan.notes,
            *_notes_of_tasks(metadata, result),
            *_notes_of_splits(metadata.info),
        ),
    )


def _notes_of_tasks(metadata: Metadata, result: SearchResult) -> Iterable[str]:
    instructions = [task.instruction for task in metadata.tasks.entries]
    parts = result.parts or [()] * len(metadata.listed)
    several = 0
    for listed, of_episode in zip(metadata.listed, parts, strict=True):
        changes = any(part.tasks and part.tasks.low != part.tasks.high for part in of_episode)
        several += len(listed) > 1 or changes
    if several:
        which = "the first that is listed" if result.parts is None else "the task of its first row"
        yield f"episodes with several tasks: {several}; each is read with {which}"
    different, unknown = [], []
    for number, listed, task, of_episode in zip(
        metadata.numbers, metadata.listed, result.tasks, parts, strict=True
    ):
        listed_texts = {instructions[position] for position in listed if position >= 0}
        if listed_texts and instructions[task] not in listed_texts:
            different.append(int(number))
        first = first_task(of_episode)
        if first is not None and first not in metadata.tasks.positions:
            unknown.append(int(number))
    if different:
        yield (
            "episodes with another task in their rows than meta/episodes lists: "
            f"{first_numbers(different)}; their rows' task_index was followed"
        )
    if unknown:
        yield (
            "episodes with a task in their rows that meta/tasks lacks: "
            f"{first_numbers(unknown)}; what meta/episodes lists was taken"
        )
    if empty := sum(not instructions[task].strip() for task in result.tasks):
        yield f"episodes with an empty instruction: {empty}"


def _notes_of_splits(info: Mapping[str, Any]) -> Iterable[str]:
    splits = info.get("splits")
    if isinstance(splits, Mapping) and len(splits) > 1:
        shown = ", ".join(f"{name} ({episodes})" for name, episodes in splits.items())
        yield f"the splits {shown} are read as one dataset"


def _width(features: Mapping[str, Any], names: Sequence[str]) -> int:
    """How many numbers a row of some features has."""
    return sum(int(np.prod(features[name]["shape"])) for name in names)


def _computed(
    read: Iterable[Callable[[], Any]], names: Sequence[str], where: Path
) -> dict[str, Any]:
    """The statistics of all rows that can be read and are finite."""
    running: dict[str, RunningStatistics] = {}
    for read_columns in read:
        try:
            columns = read_columns()
        except UserError:  # a torn episode is reported when it is read
            continue
        for name in names:
            values = columns[name].reshape(len(columns[name]), -1).astype(np.float64)
            values = values[np.isfinite(values).all(axis=1)]
            running.setdefault(name, RunningStatistics(values.shape[1])).update(values)
    if any(name not in running or not running[name].count for name in names):
        raise UserError(f"{where} holds no numbers of {' and '.join(names)} that can be read")
    return {name: each.finish() for name, each in running.items()}
