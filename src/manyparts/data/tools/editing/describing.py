"""Describe an edited dataset: info.json, tasks.parquet, stats.json, meta/episodes and the card."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.core.columns import ACTION, EXPERT_ACTION
from manyparts.core.errors import UserError
from manyparts.core.naming import FORMER_COLUMNS, NAME, NAMES
from manyparts.core.spec import Spec
from manyparts.data.formats.arrays import observed_bounds
from manyparts.data.formats.dataset_description import tasks_to_json
from manyparts.data.formats.errors import parquet_errors
from manyparts.data.formats.files import arrow_path, open_parquet
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.card import dataset_card
from manyparts.data.formats.lerobot.episode_table import STATISTICS
from manyparts.data.tools.editing.agreement import agreed_features
from manyparts.data.tools.editing.plan import Plan
from manyparts.data.tools.editing.rows import WrittenRows
from manyparts.data.tools.editing.source import Source
from manyparts.data.tools.editing.statistics import image_features, joined, of_episodes, of_samples
from manyparts.embodiment.statistics import Statistics

CARD = "README.md"
_RANGE = re.compile(r"(\d+):(\d+)")
_TASK_INDEX = "task_index"


def write_episodes(
    plan: Plan, columns: Mapping[str, Sequence[Any]], rows: WrittenRows, folder: Path
) -> pa.Table:
    """Write meta/episodes: all columns of the sources, with new numbers and files.

    Args:
        plan: what is written.
        columns: the columns that say in which files the episodes are.
        rows: the rows that were written.
        folder: the folder of the dataset.

    Returns:
        The table.
    """
    table = _joined_rows(plan)
    count = len(plan.episodes)
    new: dict[str, Sequence[Any]] = {
        "episode_index": range(count),
        "tasks": [episode.listed(plan.tasks) for episode in plan.episodes],
        **columns,
        "meta/episodes/chunk_index": [0] * count,
        "meta/episodes/file_index": [0] * count,
    }
    if plan.first.own is not None:
        new[_TASK_INDEX] = [episode.task for episode in plan.episodes]
    new |= _statistics_of_numbers(table.column_names, rows)
    for name, values in new.items():
        column = pa.array(values)
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    path = folder / layout.EPISODES.format(chunk_index=0, file_index=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, arrow_path(path), compression="snappy")
    return table


def write_tasks(plan: Plan, folder: Path) -> None:
    """Write tasks.parquet, with all further columns of the sources' own ones."""
    origins: dict[int, tuple[Source, int]] = {}
    for episode in plan.episodes:
        for position, index in episode.indices.items():
            origins.setdefault(index, (episode.source, position))
    further = {source: _further_columns(source) for source in plan.sources}
    names = dict.fromkeys(name for table in further.values() for name in table.column_names)
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = []
        for index in range(len(plan.tasks)):
            value = None
            if index in origins:
                source, position = origins[index]
                if name in further[source].column_names:
                    value = further[source][name][position].as_py()
            values.append(value)
        columns[name] = pa.array(values)
    texts = [task.instruction for task in plan.tasks]
    table = layout.texts_table(texts, further=pa.table(columns) if columns else None)
    pq.write_table(table, arrow_path(folder / layout.TASKS))


def write_statistics(plan: Plan, rows: WrittenRows, episodes: pa.Table, folder: Path) -> list[str]:
    """Write stats.json.

    Args:
        plan: what is written.
        rows: the rows that were written.
        episodes: the table of meta/episodes that was written.
        folder: the folder of the dataset.

    Returns:
        The images that have no statistics any more.
    """
    if rows.statistics is None:
        if plan.first.statistics:
            _write_json(folder / layout.STATS, plan.first.statistics)
        return []
    values, lost = rows.statistics.finish(), []
    stored = {name for source in plan.sources for name in source.statistics}
    for name in image_features(plan.first.features):
        parts = of_episodes(episodes, name)
        if parts is None and name not in stored:
            continue
        statistics = of_samples(plan, name) if parts is None else joined(parts)
        if statistics is None:
            lost.append(name)
        else:
            values[name] = statistics.to_dict(image=True)
    order = [name for name in plan.first.features if name in values]
    _write_json(folder / layout.STATS, {name: values[name] for name in order})
    return lost


def write_info(plan: Plan, rows: WrittenRows, folder: Path) -> dict[str, Any]:
    """Write info.json: all entries of the first source, with new counts and splits."""
    source, count = plan.first, len(plan.episodes)
    info = {key: value for key, value in source.info.items() if key not in NAMES}
    info |= {
        "total_episodes": count,
        "total_frames": int(plan.starts[-1]),
        "total_tasks": len(plan.tasks),
        "splits": splits_of(plan) or {"train": f"0:{count}"},
        "data_path": layout.DATA,
        "video_path": layout.VIDEO if source.of_type("video") else info.get("video_path"),
        "features": agreed_features(plan.sources)[0],
    }
    if "total_videos" in info:
        info["total_videos"] = count * len(source.of_type("video"))
    if plan.embodiment is not None:
        info["robot_type"] = plan.embodiment
    if source.own is not None:
        info[NAME] = _own_entry(plan, source.own, rows)
    _write_json(folder / layout.INFO, info)
    return info


def write_card(plan: Plan, info: Mapping[str, Any], folder: Path) -> None:
    """Write README.md: that of manyparts, or the only source's, with its copy of info.json."""
    source = plan.first
    if source.own is not None:
        spec = Spec.from_dict(info[NAME]["spec"])
        expert = next(
            (name for name in (EXPERT_ACTION, *FORMER_COLUMNS) if name in source.features), None
        )
        text = dataset_card(
            spec.embodiment,
            plan.tasks,
            episodes=info["total_episodes"],
            frames=info["total_frames"],
            fps=source.metadata.fps,
            expert=expert,
        )
    elif len(plan.sources) == 1 and (source.path / CARD).is_file():
        former = json.dumps(dict(source.info), indent=4)
        text = (source.path / CARD).read_text(encoding="utf-8", errors="surrogateescape")
        text = text.replace(former, json.dumps(info, indent=4))
    else:
        return
    (folder / CARD).write_text(text, encoding="utf-8", errors="surrogateescape")


def splits_of(plan: Plan) -> dict[str, str] | None:
    """The splits of info.json for the episodes that are left; None if they cannot be kept.

    A split is a range of episodes: one that all episodes have left is left out.
    """
    source, splits = plan.first, plan.first.info.get("splits")
    if len(plan.sources) > 1 or not isinstance(splits, Mapping):
        return None
    numbers = [int(source.metadata.numbers[episode.position]) for episode in plan.episodes]
    if numbers != sorted(numbers):
        return None
    kept: dict[str, str] = {}
    for name, value in splits.items():
        match = _RANGE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return None
        begin, end = np.searchsorted(numbers, [int(match[1]), int(match[2])]).tolist()
        if begin < end:
            kept[name] = f"{begin}:{end}"
    return kept or None


def _joined_rows(plan: Plan) -> pa.Table:
    """meta/episodes of the sources, with the rows of the plan in its order."""
    tables = []
    for source in plan.sources:
        positions = [each.position for each in plan.episodes if each.source is source]
        tables.append(source.rows.take(positions))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:  # types that are not promoted, such as lists of whole numbers
        names = dict.fromkeys(name for table in tables for name in table.column_names)
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for table in tables:
            for name, column in columns.items():
                known = name in table.column_names
                column += table[name].to_pylist() if known else [None] * table.num_rows
        try:
            return pa.table({name: pa.array(column) for name, column in columns.items()})
        except pa.ArrowException as error:
            named = ", ".join(source.name for source in plan.sources)
            raise UserError(
                f"meta/episodes of {named} have columns of other types: {error}"
            ) from error


def _statistics_of_numbers(names: Sequence[str], rows: WrittenRows) -> dict[str, list[Any]]:
    """The statistics of each episode that are stored, of columns that got new numbers."""
    columns: dict[str, list[Any]] = {}
    for number in sorted(rows.numbered):
        for name, values in rows.numbered[number].items():
            for key, value in values.items():
                if f"{STATISTICS}{name}/{key}" in names:
                    columns.setdefault(f"{STATISTICS}{name}/{key}", []).append(value)
    return {name: column for name, column in columns.items() if len(column) == len(rows.numbered)}


def _further_columns(source: Source) -> pa.Table:
    """The columns of tasks.parquet other than index and text, in order of task_index."""
    file = source.path / layout.TASKS
    texts = [entry.instruction for entry in source.metadata.tasks.entries]
    with parquet_errors(file):
        table = open_parquet(file).read(use_threads=False)
    if table.num_rows != len(texts):
        return pa.table({})
    if _TASK_INDEX in table.column_names:
        table = table.sort_by(_TASK_INDEX).drop_columns([_TASK_INDEX])
    others = [name for name in table.column_names if table[name].to_pylist() != texts]
    return table.select(others)


def _own_entry(plan: Plan, own: Mapping[str, Any], rows: WrittenRows) -> dict[str, Any]:
    """What manyparts writes into info.json. Bounds that were measured are those of the rows."""
    spec = Spec.from_dict(own["spec"])
    entry = {**own, "tasks": tasks_to_json(plan.tasks)}
    values = {"spec": dict(own["spec"])}
    if plan.embodiment is not None:
        values["spec"] |= {"embodiment": plan.embodiment}
        values["spec"].pop("named", None)
    if spec.action.measured and rows.statistics is not None:
        statistics = Statistics.from_dict(rows.statistics.finish())
        low, high = observed_bounds(statistics, (ACTION, EXPERT_ACTION))
        values["spec"]["action"] = {**own["spec"]["action"], "low": list(low), "high": list(high)}
    return entry | values


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
