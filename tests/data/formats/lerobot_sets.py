"""Small LeRobotDatasets as others write them, to be damaged: state of row t of episode e is 100 e +
t, action 0.5 more.

Pictures of row t of episode e are grey 20 e + 4 t.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from data.formats.foreign import _encoded as encoded
from data.formats.foreign import _statistics as statistics

from manyparts.data.dataset import EpisodeDataset

LENGTHS, FPS, SIZE = (6, 5, 4), 10, 64
CAMERA, VIDEO = "observation.images.top", "videos/observation.images.top/chunk-000/file-000.mp4"
DATA, EPISODES, TASKS, INFO = (
    "data/chunk-000/file-{:03d}.parquet",
    "meta/episodes/chunk-000/file-000.parquet",
    "meta/tasks.parquet",
    "meta/info.json",
)
STANDARD = {
    "timestamp": "float32",
    **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
}
SENTENCE = "pick up the cube"


def feature(dtype: str, *shape: int, **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "names": None, **more}


def grey(episode: int, row: int) -> int:
    return 20 * episode + 4 * row


def image(episode: int, row: int, size: int = SIZE) -> np.ndarray:
    return np.full((size, size, 3), grey(episode, row), np.uint8)


def rows_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    return [(episode, row) for episode, length in enumerate(lengths) for row in range(length)]


def numbers_of(episode: int, length: int, start: int = 0) -> dict[str, Any]:
    """The columns of one episode. Its first row is row `start` of all."""
    rows = np.arange(length)
    state = np.repeat((100 * episode + rows)[:, None], 3, axis=1).astype(np.float32)
    return {
        "observation.state": list(state),
        "action": list(state[:, :2] + np.float32(0.5)),
        "timestamp": (rows / FPS).astype(np.float32),
        "frame_index": rows,
        "episode_index": np.full(length, episode),
        "index": start + rows,
        "task_index": np.zeros(length, np.int64),
    }


def write_v3(
    folder: Path,
    lengths: Sequence[int] = LENGTHS,
    *,
    files: Sequence[int] | None = None,
    features: Mapping[str, Any] | None = None,
    columns: Mapping[str, Callable[[int, int], Any]] | None = None,
    episodes: Mapping[str, Sequence[Any]] | None = None,
    tasks: Sequence[str] = (SENTENCE,),
    info: Mapping[str, Any] | None = None,
    state: str = "observation.state",
    action: str = "action",
) -> Path:
    """files: the data file of each episode. features, columns: further ones, and what row t of
    episode e holds. episodes: further columns of meta/episodes. state, action: the names of these
    features."""
    files = files or [0] * len(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    tables: dict[int, list[pa.Table]] = {}
    for episode, (length, file) in enumerate(zip(lengths, files, strict=True)):
        held = numbers_of(episode, length, starts[episode])
        held |= {
            name: [put(episode, row) for row in range(length)]
            for name, put in (columns or {}).items()
        }
        renamed = {"observation.state": state, "action": action}
        tables.setdefault(file, []).append(
            pa.table({renamed.get(name, name): each for name, each in held.items()})
        )
    for file, parts in tables.items():
        path = folder / DATA.format(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(parts), path)
    count = len(lengths)
    listed = {
        "episode_index": list(range(count)),
        "tasks": [[tasks[0]]] * count,
        "length": list(lengths),
        "data/chunk_index": [0] * count,
        "data/file_index": list(files),
        "dataset_from_index": starts[:-1],
        "dataset_to_index": starts[1:],
    }
    (folder / EPISODES).parent.mkdir(parents=True)
    pq.write_table(pa.table({**listed, **(episodes or {})}), folder / EPISODES)
    described = {"index_columns": ["task"], "columns": [], "column_indexes": []}
    table = pa.table({"task_index": list(range(len(tasks))), "task": list(tasks)})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(described)}), folder / TASKS)
    whole = [numbers_of(episode, length) for episode, length in enumerate(lengths)]
    kept = {
        renamed: statistics(np.concatenate([each[name] for each in whole]))
        for name, renamed in renamed.items()
    }
    (folder / "meta/stats.json").write_text(json.dumps(kept))
    everything = {
        "codebase_version": "v3.0",
        "robot_type": "arm",
        "total_episodes": count,
        "total_frames": starts[-1],
        "chunks_size": 1000,
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            state: feature("float32", 3),
            action: feature("float32", 2),
            **(features or {}),
            **{name: feature(dtype, 1) for name, dtype in STANDARD.items()},
        },
    }
    (folder / INFO).write_text(json.dumps({**everything, **(info or {})}))
    return folder


def write_v21(
    folder: Path, lengths: Sequence[int] = LENGTHS, kept: Sequence[int] | None = None
) -> Path:
    """An episode a file. kept: the episodes that somebody has not deleted."""
    kept = range(len(lengths)) if kept is None else kept
    write_v3(folder, lengths)
    for path in ("data/chunk-000/file-000.parquet", EPISODES, TASKS, "meta/stats.json"):
        (folder / path).unlink()
    starts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    listed, stored = [], []
    for episode in kept:
        numbers = numbers_of(episode, lengths[episode], starts[episode])
        pq.write_table(pa.table(numbers), folder / f"data/chunk-000/episode_{episode:06d}.parquet")
        listed.append({"episode_index": episode, "tasks": [SENTENCE], "length": lengths[episode]})
        stats = {
            name: statistics(np.stack(numbers[name])) for name in ("observation.state", "action")
        }
        stored.append({"episode_index": episode, "stats": stats})
    lines(folder / "meta/episodes.jsonl", listed)
    lines(folder / "meta/episodes_stats.jsonl", stored)
    lines(folder / "meta/tasks.jsonl", [{"task_index": 0, "task": SENTENCE}])
    change_json(
        folder / INFO,
        codebase_version="v2.1",
        total_episodes=len(listed),
        total_frames=sum(lengths[episode] for episode in kept),
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )
    return folder


def write_filmed(
    folder: Path,
    lengths: Sequence[int] = LENGTHS,
    *,
    shown: Sequence[tuple[int, int]] | None = None,
    seconds: Sequence[float] | None = None,
    begins: Sequence[float] | None = None,
    pixels: str = "yuv420p",
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    **described: Any,
) -> Path:
    """With one video. shown: (episode, row) of each of its frames. seconds: when. begins: where
    metadata says that each episode begins."""
    shown = shown or rows_of(lengths)
    seconds = seconds or [number / FPS for number in range(len(shown))]
    begins = begins or (np.cumsum([0, *lengths[:-1]]) / FPS).tolist()
    positions = dict.fromkeys(
        (f"videos/{CAMERA}/chunk_index", f"videos/{CAMERA}/file_index"), [0] * len(lengths)
    )
    write_v3(
        folder,
        lengths,
        features={CAMERA: feature("video", SIZE, SIZE, 3) | described},
        episodes={**positions, f"videos/{CAMERA}/from_timestamp": begins},
    )
    film(folder / VIDEO, [image(*which) for which in shown], seconds, pixels, codec, options)
    return folder


def film(
    path: Path,
    images: Sequence[np.ndarray],
    seconds: Sequence[float],
    pixels: str = "yuv420p",
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w", format="mp4" if codec != "ffv1" else "matroska") as container:
        stream: Any = container.add_stream(codec, rate=FPS, options={**quiet, **(options or {})})
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.codec_context.time_base = pixels, Fraction(1, 90_000)
        for each, when in zip(images, seconds, strict=True):
            frame = av.VideoFrame.from_ndarray(each, format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 90_000), round(when * 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def stored(episode: int, row: int, kind: str = "PNG") -> dict[str, Any]:
    """A picture as a row holds it."""
    return {"bytes": encoded(image(episode, row, 12), kind), "path": None}


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_table(path: Path, change: Callable[[dict[str, list[Any]]], Any]) -> None:
    """Rewrite a parquet file: `change` gets its columns as lists and alters them, or returns
    others."""
    table = pq.read_table(path)
    columns = table.to_pydict()
    changed = change(columns)
    columns = columns if changed is None else changed
    pq.write_table(pa.table(columns), path)


def assert_own_rows(
    dataset: EpisodeDataset, names: Sequence[int], lengths: Sequence[int] = LENGTHS
) -> None:
    """Each episode holds its own numbers, and pictures if it has some. names: what the episodes
    were recorded as."""
    assert dataset.num_episodes == len(names)
    for index, name in enumerate(names):
        rows = np.arange(lengths[name])
        columns = dataset.columns(index)
        np.testing.assert_array_equal(columns["observation.state"][:, 0], 100 * name + rows)
        np.testing.assert_array_equal(columns["action"][:, 0], 100 * name + rows + 0.5)
        for camera in dataset.spec.cameras:
            for chosen in (rows, rows[1::2]):
                shown = dataset.frames(index, camera, chosen).reshape(len(chosen), -1).mean(axis=1)
                np.testing.assert_allclose(shown, [grey(name, row) for row in chosen], atol=3)
