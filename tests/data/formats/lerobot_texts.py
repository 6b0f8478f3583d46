"""LeRobotDatasets with subtasks in three forms: "reach the cube" until row 2, then "lift the
cube"."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from data.formats.lerobot_sets import FPS, LENGTHS, feature, write_v3

REACH, LIFT, CHANGE = "reach the cube", "lift the cube", 3
WANTED: list[list[str | None]] = [
    [REACH if row < CHANGE else LIFT for row in range(length)] for length in LENGTHS
]


def write_subtasks(folder: Path, numbers: list[int], texts: list[str]) -> None:
    described = {"index_columns": ["subtask"], "columns": [], "column_indexes": []}
    table = pa.table({"subtask_index": numbers, "subtask": texts})
    table = table.replace_schema_metadata({"pandas": json.dumps(described)})
    pq.write_table(table, folder / "meta/subtasks.parquet")


def by_index(folder: Path, cell: Callable[[int, int], Any] | None = None) -> Path:
    cell = cell or (lambda _, row: int(row >= CHANGE))
    features, columns = {"subtask_index": feature("int64", 1)}, {"subtask_index": cell}
    write_v3(folder, features=features, columns=columns)
    write_subtasks(folder, [0, 1], [REACH, LIFT])
    return folder


def entry(content: str | None, style: str, timestamp: float | None) -> dict[str, Any]:
    values = {"role": "assistant", "content": content, "style": style, "timestamp": timestamp}
    return values | {"camera": None, "tool_calls": None}


USUAL = [
    entry(LIFT, "subtask", CHANGE / FPS),
    entry("1. reach 2. lift", "plan", 0.0),
    entry(REACH, "subtask", 0.0),
    entry("the cube is on the left", "memory", 0.2),
    entry("put it away", "task_aug", 0.0),
]


def by_time(folder: Path, entries: Callable[[int, int], Any] | None = None) -> Path:
    entries = entries or (lambda *_: USUAL)
    names = ("language_persistent", "language_events")
    columns = dict(zip(names, (entries, lambda *_: []), strict=True))
    features = dict.fromkeys(names, feature("language", 1))
    return write_v3(folder, features=features, columns=columns)


def by_rows(folder: Path, prefix: str = "sparse_", **changed: Any) -> Path:
    spans = {
        "names": [[REACH, LIFT]] * 3,
        "start_frames": [[0, CHANGE]] * 3,
        "end_frames": [[CHANGE, length] for length in LENGTHS],
    }
    spans |= changed
    return write_v3(
        folder, episodes={f"{prefix}subtask_{name}": values for name, values in spans.items()}
    )


def write_all_forms(folder: Path) -> Path:
    """One dataset with a column of strings and all forms of subtasks."""
    names = ("note", "subtask_index", "language_persistent")
    kinds = ("string", "int64", "language")
    cells = (lambda _, row: f"row {row}", lambda _, row: int(row >= CHANGE), lambda *_: USUAL)
    write_v3(
        folder,
        features={name: feature(kind, 1) for name, kind in zip(names, kinds, strict=True)},
        columns=dict(zip(names, cells, strict=True)),
        episodes={
            "sparse_subtask_names": [[REACH, LIFT]] * 3,
            "sparse_subtask_start_frames": [[0, CHANGE]] * 3,
            "sparse_subtask_end_frames": [[CHANGE, length] for length in LENGTHS],
        },
    )
    write_subtasks(folder, [0, 1], [REACH, LIFT])
    return folder
