"""Datasets to edit: a foreign one with all that others add, and one of manyparts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from data.formats.foreign import _statistics as statistics
from data.formats.lerobot_sets import (
    CAMERA,
    DATA,
    EPISODES,
    FPS,
    INFO,
    LENGTHS,
    TASKS,
    VIDEO,
    change_json,
    feature,
    film,
    grey,
    image,
    stored,
    write_v3,
)
from PIL import Image

TEXTS = ("pick up the cube", "open the drawer", "close it")
STILL, DEPTH = "observation.images.still", "observation.images.depth"
CAMERAS = (STILL, DEPTH)
# The task of each row: the second episode changes its task in its third row.
ROW_TASKS = ((0,) * 6, (1, 1, 2, 2, 2), (0,) * 4)


def rich(folder: Path, **info: Any) -> Path:
    """Three episodes in two data files and a video, with columns, files and entries that manyparts
    does not read."""
    extra = {
        STILL: feature("image", 12, 12, 3),
        DEPTH: feature("image", 8, 8, 1),
        "note": feature("string", 1),
        "language_persistent": feature("language", 1),
        "matrix": feature("float64", 2, 2),
        "flag": feature("bool", 1),
        "subtask_index": feature("int64", 1),
        CAMERA: feature("video", 64, 64, 3, info={"video.codec": "h264", "video.fps": FPS}),
    }
    columns = {
        STILL: lambda e, t: stored(e, t),
        DEPTH: lambda e, t: {"bytes": depth(e, t), "path": f"depth-{t}.png"},
        "note": lambda e, t: f"note {e} {t}",
        "language_persistent": lambda e, t: [{"role": "user", "content": f"say {e}"}],
        "matrix": lambda e, t: [[e, t], [e + 0.5, -t]],
        "flag": lambda e, t: (e + t) % 2 == 0,
        "subtask_index": lambda e, t: t % 3 - 1,
    }
    begins = (np.cumsum([0, *LENGTHS[:-1]]) / FPS).tolist()
    episodes = {
        f"videos/{CAMERA}/chunk_index": [0] * 3,
        f"videos/{CAMERA}/file_index": [0] * 3,
        f"videos/{CAMERA}/from_timestamp": begins,
        f"videos/{CAMERA}/to_timestamp": (np.cumsum(LENGTHS) / FPS).tolist(),
        "meta/episodes/chunk_index": [0] * 3,
        "meta/episodes/file_index": [0] * 3,
        "operator": ["ann", "bob", "cyd"],
        "sparse_subtask_names": [["reach", "lift"], ["pull"], []],
        **image_statistics(CAMERA),
        **image_statistics(STILL),
        **{f"stats/index/{key}": [[0.0]] * 3 for key in ("min", "max", "mean", "std")},
    }
    write_v3(
        folder,
        files=(0, 0, 1),
        features=extra,
        columns=columns,
        episodes=episodes,
        tasks=TEXTS,
        info={"splits": {"train": "0:2", "test": "2:3"}, "total_tasks": 3, "maker": "lab", **info},
    )
    begin = 0
    for episode, length in enumerate(LENGTHS):
        shown = [image(episode, row) for row in range(length)]
        part = folder / f"part-{episode}.mp4"
        film(part, shown, [row / FPS for row in range(length)], options={"g": "2"})
        begin += length
    join(folder, [folder / f"part-{episode}.mp4" for episode in range(3)])
    tasks_of_rows(folder)
    further_files(folder)
    return folder


def join(folder: Path, parts: list[Path]) -> None:
    """One video of several that were encoded apart, as LeRobot joins episodes."""
    from manyparts.data.video import VideoWriter

    writer = VideoWriter(folder / VIDEO, FPS)
    for part, length in zip(parts, LENGTHS, strict=True):
        writer.add(part.read_bytes(), length)
        part.unlink()
    writer.close()


def tasks_of_rows(folder: Path) -> None:
    """Give rows and episodes their tasks, and tasks.parquet a further column."""
    flat = iter([task for tasks in ROW_TASKS for task in tasks])
    for number in range(2):
        table = pq.read_table(folder / DATA.format(number))
        indices = pa.array([next(flat) for _ in range(table.num_rows)], pa.int64())
        column = table.column_names.index("task_index")
        pq.write_table(
            table.set_column(column, "task_index", indices), folder / DATA.format(number)
        )
    table = pq.read_table(folder / EPISODES)
    listed = [[TEXTS[task] for task in dict.fromkeys(tasks)] for tasks in ROW_TASKS]
    column = table.column_names.index("tasks")
    pq.write_table(table.set_column(column, "tasks", pa.array(listed)), folder / EPISODES)
    table = pq.read_table(folder / TASKS)
    names = pa.array(["PickCube", "OpenDrawer", "CloseIt"])
    pq.write_table(table.append_column("task_name", names), folder / TASKS)


def further_files(folder: Path) -> None:
    subtasks = {"subtask_index": [0, 1], "subtask": ["reach", "lift"]}
    pq.write_table(pa.table(subtasks), folder / "meta/subtasks.parquet")
    kept = json.loads((folder / "meta/stats.json").read_text())
    parts = {"count": [8], "min": 0.0, "max": 0.4, "mean": 0.1, "std": 0.1}
    for name in (CAMERA, STILL):
        kept[name] = {
            key: value if key == "count" else [[[value]]] * 3 for key, value in parts.items()
        }
    (folder / "meta/stats.json").write_text(json.dumps(kept))
    (folder / "meta/calibration.json").write_text('{"focal": 600}')
    (folder / "LICENSE").write_text("do what you like")
    (folder / ".cache").mkdir()
    (folder / ".cache/download").write_text("etag")
    information = json.loads((folder / INFO).read_text())
    card = f"---\nlicense: mit\n---\n# My arm\n```json\n{json.dumps(information, indent=4)}\n```\n"
    (folder / "README.md").write_text(card)


def image_statistics(name: str) -> dict[str, list[Any]]:
    """The columns of meta/episodes: each episode's images are grey."""
    columns: dict[str, list[Any]] = {}
    for episode, length in enumerate(LENGTHS):
        values = np.asarray([grey(episode, row) / 255 for row in range(length)])
        for key, value in statistics(values[:, None]).items():
            number = [length] if key == "count" else [[[float(np.ravel(value)[0])]]] * 3
            columns.setdefault(f"stats/{name}/{key}", []).append(number)
    return columns


def depth(episode: int, row: int) -> bytes:
    """A PNG of 16 bits."""
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8), 1000 * episode + row, np.uint16)).save(content, "PNG")
    return content.getvalue()


def snapshot(folder: Path) -> dict[str, bytes]:
    """The content of every file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


__all__ = ["CAMERA", "CAMERAS", "change_json", "rich", "snapshot"]
