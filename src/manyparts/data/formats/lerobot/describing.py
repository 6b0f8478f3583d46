"""What a LeRobotDataset says of itself, by its metadata and by what lies in its files."""

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
    """The plan by what the data files hold: without what is not in all of them."""
    numbers = frozenset.intersection(*(file.numbers for file in files))
    others = frozenset.intersection(*(file.others for file in files))
    columns = frozenset.union(*(file.numbers | file.others for file in files))
    stored = [name for name in plan.cameras.values() if features[name]["dtype"] == "image"]
    absent = [
        name for name in (*plan.further, plan.expert) if name is not None and name not in numbers
    ]
    absent += [name for name in stored if name not in others]
    strange = sorted(columns - features.keys() - layout.STANDARD.keys())
    left_out = dict.fromkeys(absent, "not in all data files")
    return plan.without(
        left_out | dict.fromkeys(strange, "not among the features of meta/info.json")
    )


def statistics_of(
    metadata: Metadata,
    plan: Plan,
    features: Mapping[str, Any],
    where: Path,
    read: Iterable[Callable[[], Any]] | None,
) -> tuple[Statistics, list[str]]:
    """Those that are stored, or, where these lack state or action or some episodes, those of all
    rows; and a note that says so. read: what gives each episode's columns; None: they cannot be had
    now."""
    stored = plan.statistics(metadata.statistics)
    widths = {
        ACTION: _width(features, (plan.action,)),
        **({STATE: _width(features, plan.state)} if plan.state else {}),
    }
    if (
        plan.expert is not None and read is not None
    ):  # without them, bounds are those of what was done
        widths[EXPERT_ACTION] = widths[ACTION]
    lacking = [
        name
        for name, width in widths.items()
        if name not in stored.features or len(stored[name].min) != width
    ]
    if not lacking and metadata.stale is None:
        return stored, []
    if read is None:
        if lacking:
            raise UserError(f"{where / layout.STATS} has no statistics of {', '.join(lacking)}")
        return stored, [f"{metadata.stale}; the statistics are those of the others"]
    why = metadata.stale or f"{layout.STATS} has no statistics of {', '.join(lacking)}"
    measured = _measured(read, list(widths), where)
    return Statistics({**stored.features, **measured}), [
        f"{why}; the statistics were computed from the rows"
    ]


def describe(
    path: Path,
    own: Mapping[str, Any],
    metadata: Metadata,
    plan: Plan,
    result: SearchResult,
    statistics: Statistics,
) -> Contents:
    """own: what this project wrote into info.json, {} where others wrote. Raises UserError where
    that disagrees."""
    features = metadata.info["features"]
    kinds = {features[name]["dtype"] for name in plan.cameras.values()}
    sizes = derived_spec.camera_sizes(features, plan)
    spec = (
        Spec.from_dict(own["spec"])
        if own
        else derived_spec.derive_spec(metadata.info, plan, statistics, metadata.fps)
    )
    if dict(spec.cameras) != sizes:
        raise UserError(
            f"{path / layout.INFO} tells of cameras {dict(spec.cameras)}; its features are {sizes}"
        )
    counted = np.array_equal(metadata.numbers, np.arange(len(metadata.numbers)))
    return Contents(
        format=f"LeRobotDataset {metadata.info['codebase_version']}",
        spec=spec,
        fps=metadata.fps,
        tasks=metadata.tasks.entries,
        lengths=metadata.lengths,
        episode_task=result.tasks,
        statistics=statistics,
        images=", ".join(sorted("png" if kind == "image" else kind for kind in kinds)) or "none",
        environment=dict(own.get("environment", {})),
        seeds=metadata.seeds,
        noisy=metadata.noisy,
        succeeded=metadata.succeeded,
        left_out=plan.left_out,
        episodes_left_out=result.lost,
        episode_names=() if counted else tuple(map(str, metadata.numbers)),
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
    changing = [
        any(part.tasks and part.tasks[1] != part.tasks[2] for part in each) for each in parts
    ]
    several = sum(
        len(listed) > 1 or changes
        for listed, changes in zip(metadata.listed, changing, strict=True)
    )
    if several:
        which = "the first that is listed" if result.parts is None else "the task of its first row"
        yield f"episodes with several tasks: {several}; each is read with {which}"
    other, unknown = [], []
    for number, listed, task, own in zip(
        metadata.numbers, metadata.listed, result.tasks, parts, strict=True
    ):
        known = {instructions[position] for position in listed if position >= 0}
        if known and instructions[task] not in known:
            other.append(int(number))
        if (first := first_task(own)) is not None and first not in metadata.tasks.positions:
            unknown.append(int(number))
    if other:
        yield (
            f"episodes whose rows have another task than meta/episodes lists: {first_numbers(other)}; "
            "their rows' task_index was followed"
        )
    if unknown:
        yield (
            f"episodes whose rows have a task that meta/tasks lacks: {first_numbers(unknown)}; "
            "what meta/episodes lists was taken"
        )
    if empty := sum(not instructions[task].strip() for task in result.tasks):
        yield f"episodes with an empty instruction: {empty}"


def _notes_of_splits(info: Mapping[str, Any]) -> Iterable[str]:
    splits = info.get("splits")
    if isinstance(splits, Mapping) and len(splits) > 1:
        named = ", ".join(f"{name} ({which})" for name, which in splits.items())
        yield f"the splits {named} are read as one dataset"


def _width(features: Mapping[str, Any], names: Sequence[str]) -> int:
    return sum(int(np.prod(features[name]["shape"])) for name in names)


def _measured(
    read: Iterable[Callable[[], Any]], names: Sequence[str], where: Path
) -> dict[str, Any]:
    """Of the rows that can be read and are finite."""
    running: dict[str, RunningStatistics] = {}
    for columns_of in read:
        try:
            columns = columns_of()
        except UserError:  # an episode that is torn is complained of where it is read
            continue
        for name in names:
            values = columns[name].reshape(len(columns[name]), -1).astype(np.float64)
            values = values[np.isfinite(values).all(axis=1)]
            running.setdefault(name, RunningStatistics(values.shape[1])).update(values)
    if any(name not in running or not running[name].count for name in names):
        raise UserError(f"{where} holds no numbers of {' and '.join(names)} that can be read")
    return {name: each.finish() for name, each in running.items()}
