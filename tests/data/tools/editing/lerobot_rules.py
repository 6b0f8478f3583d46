"""A dataset read by LeRobot's own rules, with pyarrow and PyAV alone.

Data files in order of their paths are one table, and `index` is the row in it. Rows of
meta/episodes and of tasks.parquet are found by position, and a frame of a video by its time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERED = ("episode_index", "index", "task_index")
TOLERANCE_SECONDS = 1e-4  # as LeRobot's


@dataclass
class ReadEpisode:
    """An episode with all that must survive an edit."""

    columns: dict[str, list[Any]]
    """Each column but those that number rows."""
    tasks: list[str]
    """The instruction of each row."""
    listed: list[str]
    """The instructions in meta/episodes."""
    frames: dict[str, np.ndarray]
    """uint8 (T, h, w, 3) of each video."""
    meta: dict[str, Any]
    """Its row of meta/episodes without numbers and files."""


def read_as_lerobot(folder: Path, *, videos: bool = True) -> list[ReadEpisode]:
    """All episodes; assertions hold what LeRobot takes for granted."""
    info = json.loads((folder / "meta/info.json").read_text())
    rows = table_of(folder / "data")
    meta = table_of(folder / "meta/episodes").to_pylist()
    tasks = pq.read_table(folder / "meta/tasks.parquet").to_pylist()
    assert [task["task_index"] for task in tasks] == list(range(len(tasks)))
    assert info["total_episodes"] == len(meta) and info["total_tasks"] == len(tasks)
    assert info["total_frames"] == rows.num_rows
    assert rows["index"].to_pylist() == list(range(rows.num_rows))
    split_ends = [int(value.split(":")[1]) for value in info["splits"].values()]
    assert max(split_ends) <= len(meta)
    read, start = [], 0
    for number, row in enumerate(meta):
        assert row["episode_index"] == number
        assert row["dataset_from_index"] == start
        stop = row["dataset_to_index"]
        own = rows.slice(start, stop - start)
        assert set(own["episode_index"].to_pylist()) == {number}
        assert stop - start == row["length"] == own.num_rows
        in_file = pq.read_table(folder / file_of(info["data_path"], row, "data"))
        assert number in in_file["episode_index"].to_pylist()
        start = stop
        columns = {name: own[name].to_pylist() for name in own.column_names if name not in NUMBERED}
        keys = [key for key, item in info["features"].items() if item["dtype"] == "video"]
        read.append(
            ReadEpisode(
                columns,
                [tasks[index]["task"] for index in own["task_index"].to_pylist()],
                row["tasks"],
                {key: video_of(folder, info, row, key, columns) for key in keys if videos},
                {name: value for name, value in row.items() if not is_numbering(name)},
            )
        )
    assert start == rows.num_rows
    return read


def table_of(folder: Path) -> pa.Table:
    files = sorted(folder.glob("*/*.parquet"))
    return pa.concat_tables(map(pq.read_table, files), promote_options="permissive")


def file_of(template: str, row: dict[str, Any], kind: str) -> str:
    return template.format(
        chunk_index=row[f"{kind}/chunk_index"],
        file_index=row[f"{kind}/file_index"],
        video_key=kind.removeprefix("videos/"),
    )


def video_of(
    folder: Path, info: dict[str, Any], row: dict[str, Any], key: str, columns: dict[str, list[Any]]
) -> np.ndarray:
    """The frames of an episode: by number from the average rate, which have to be at their time."""
    seconds, frames = decoded(folder / file_of(info["video_path"], row, f"videos/{key}"))
    begin = row[f"videos/{key}/from_timestamp"]
    end = row.get(f"videos/{key}/to_timestamp")
    assert end is None or abs(end - begin - row["length"] / info["fps"]) < TOLERANCE_SECONDS
    wanted = begin + np.asarray(columns["timestamp"])
    average_rate = len(seconds) / (seconds[-1] - seconds[0] + 1 / info["fps"])
    numbers = np.round(wanted * average_rate).astype(int)
    np.testing.assert_allclose(seconds[numbers], wanted, atol=TOLERANCE_SECONDS)
    return frames[numbers]


def decoded(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """When each frame of a video is shown, and all frames."""
    with av.open(str(file)) as container:
        pairs = [
            (float(frame.time), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(container.streams.video[0])
        ]
    return np.asarray([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])


def is_numbering(name: str) -> bool:
    parts = name.split("/")
    files = ("data", "videos", "meta")
    numbered = parts[0] == "stats" and parts[1] in (*NUMBERED, "subtask_index")
    known = ("tasks", "episode_index", "task_index", "dataset_from_index", "dataset_to_index")
    return name in known or parts[0] in files or numbered


def assert_same(one: list[ReadEpisode], other: list[ReadEpisode]) -> None:
    """The same rows, instructions, frames and columns of meta/episodes, in the same order."""
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert mine.columns == theirs.columns
        assert mine.tasks == theirs.tasks and mine.listed == theirs.listed
        assert mine.meta == theirs.meta
        assert mine.frames.keys() == theirs.frames.keys()
        for key, frames in mine.frames.items():
            np.testing.assert_array_equal(frames, theirs.frames[key])


def assert_statistics_of_rows(folder: Path) -> None:
    """stats.json is that of the rows, and of each episode's images weighted by their number."""
    info = json.loads((folder / "meta/info.json").read_text())
    stored = json.loads((folder / "meta/stats.json").read_text())
    rows, meta = table_of(folder / "data"), table_of(folder / "meta/episodes")
    for name, item in info["features"].items():
        if item["dtype"] in ("image", "video"):
            if f"stats/{name}/mean" in meta.column_names:
                counts = np.ravel(meta[f"stats/{name}/count"].to_pylist())
                means = np.reshape(meta[f"stats/{name}/mean"].to_pylist(), (len(counts), -1))
                mean = counts @ means / counts.sum()
                np.testing.assert_allclose(np.ravel(stored[name]["mean"]), mean, rtol=1e-9)
                lows = np.reshape(meta[f"stats/{name}/min"].to_pylist(), (len(counts), -1))
                np.testing.assert_array_equal(np.ravel(stored[name]["min"]), lows.min(axis=0))
                assert np.shape(stored[name]["mean"]) == (3, 1, 1)
        elif np.dtype(item["dtype"] if item["dtype"] not in TEXTS else "O").kind in "biuf":
            values = np.asarray(rows[name].to_pylist(), np.float64)
            values = values.reshape(len(values), *item["shape"])
            wanted = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0)}
            wanted |= {"std": values.std(0), "q50": np.median(values, axis=0)}
            wanted |= {"q99": np.quantile(values, 0.99, axis=0)}
            for key, numbers in wanted.items():
                np.testing.assert_allclose(stored[name][key], numbers, rtol=1e-9, atol=1e-9)
            assert stored[name]["count"] == [len(values)]


TEXTS = ("string", "language")
