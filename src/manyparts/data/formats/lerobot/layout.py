"""The files and columns of a LeRobotDataset v3.0."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pyarrow as pa

from manyparts.core.columns import (
    ACTION,
    DONE,
    EXPERT_ACTION,
    IMAGES,
    REWARD,
    STATE,
    SUCCESS,
    TERMINATED,
)
from manyparts.core.spec import Spec

VERSION = "v3.0"
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES_FOLDER = "meta/episodes"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000
DATA_FILE_MEGABYTES = 100
VIDEO_FILE_MEGABYTES = 200

STANDARD = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


class Known(TypedDict):
    """Which columns a dataset has that not every one has, as keywords of `DatasetWriter`."""

    terminates: bool
    """Whether episodes say if they ended for good."""
    knows_success: bool
    """Whether steps say if the task is solved."""
    knows_reward: bool
    """Whether steps have rewards."""


def next_file(
    chunk_index: int, file_index: int, *, files_per_chunk: int | None = None
) -> tuple[int, int]:
    """The (chunk, file) numbers after these.

    Args:
        chunk_index: the number of the chunk folder.
        file_index: the number of the file in it, from 0.
        files_per_chunk: how many files a chunk folder holds; None: LeRobot's default.
    """
    if file_index + 1 < (FILES_PER_CHUNK if files_per_chunk is None else files_per_chunk):
        return chunk_index, file_index + 1
    return chunk_index + 1, 0


def features(
    spec: Spec,
    *,
    fps: float,
    images: str,
    expert: str | None = EXPERT_ACTION,
    terminates: bool = False,
    knows_success: bool = True,
    knows_reward: bool = True,
) -> dict[str, Any]:
    """The features of info.json, in the order of the columns.

    Args:
        spec: the robot's cameras, state and actions.
        fps: frames per second.
        images: "png" or "video".
        expert: the name of the column of the expert's actions; None leaves it out.
        terminates: whether there is a column of whether the episode ended for good.
        knows_success: whether there is a column of whether the task is solved.
        knows_reward: whether there is a column of rewards.
    """
    cameras = {IMAGES + name: _image(size, fps, images) for name, size in spec.cameras.items()}
    state = {STATE: _vector(spec.state_names)} if spec.state_names else {}
    return {
        **state,
        **cameras,
        ACTION: _vector(spec.action.names),
        **({} if expert is None else {expert: _vector(spec.action.names)}),
        **({REWARD: _scalar("float32")} if knows_reward else {}),
        DONE: _scalar("bool"),
        **({SUCCESS: _scalar("bool")} if knows_success else {}),
        **({TERMINATED: _scalar("bool")} if terminates else {}),
        **{name: _scalar(dtype) for name, dtype in STANDARD.items()},
    }


def frame_schema(columns: Mapping[str, Any]) -> pa.Schema:
    """The Arrow schema of the data files: all features but videos, with the metadata of Hugging
    Face datasets."""
    stored = {name: feature for name, feature in columns.items() if feature["dtype"] != "video"}
    huggingface = {name: _huggingface_feature(item) for name, item in stored.items()}
    return pa.schema(
        [(name, _arrow_type(item)) for name, item in stored.items()],
        {"huggingface": json.dumps({"info": {"features": huggingface}})},
    )


def texts_table(
    texts: Sequence[str], kind: str = "task", *, further: pa.Table | None = None
) -> pa.Table:
    """The table of tasks.parquet, or of subtasks.parquet.

    The texts are the pandas index, named as their kind: else LeRobot loses them.

    Args:
        texts: one per task, in the order of their index.
        kind: "task" or "subtask".
        further: other columns, with one row per task.
    """
    columns = {f"{kind}_index": pa.array(range(len(texts)), pa.int64())}
    columns |= {} if further is None else dict(zip(further.column_names, further, strict=True))
    table = pa.table({**columns, kind: pa.array(texts, pa.string())})
    described = {
        **_PANDAS,
        "index_columns": [kind],
        "columns": [
            _pandas_column(f"{kind}_index", "int64", "int64"),
            _pandas_column(kind, "unicode", "object"),
        ],
    }
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


def episode_schema(columns: Mapping[str, Any]) -> pa.Schema:
    """The Arrow schema of the episodes files: lengths, files and rows, manyparts' own columns, and
    statistics of each feature."""
    videos = [name for name, feature in columns.items() if feature["dtype"] == "video"]
    indices = ["data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"]
    files = [(name, pa.int64()) for name in indices]
    for name in videos:
        files += [(f"videos/{name}/{part}_index", pa.int64()) for part in ("chunk", "file")]
        files += [(f"videos/{name}/{part}_timestamp", pa.float64()) for part in ("from", "to")]
    files += [(f"meta/episodes/{part}_index", pa.int64()) for part in ("chunk", "file")]
    own_columns = [("task_index", pa.int64()), ("seed", pa.int64()), ("noisy", pa.bool_())]
    statistics = []
    for name, feature in columns.items():
        numbers: pa.DataType = pa.list_(pa.float64())
        kind = pa.list_(pa.list_(numbers)) if feature["dtype"] in ("image", "video") else numbers
        statistics += [(f"stats/{name}/{key}", kind) for key in ("min", "max", "mean", "std")]
        statistics += [(f"stats/{name}/count", pa.list_(pa.int64()))]
        statistics += [(f"stats/{name}/{key}", kind) for key in ("q01", "q10", "q50", "q90", "q99")]
    first = [
        ("episode_index", pa.int64()),
        ("tasks", pa.list_(pa.string())),
        ("length", pa.int64()),
    ]
    return pa.schema(first + files + own_columns + statistics)


def _scalar(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}


def _vector(names: Sequence[str]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}


def _image(size: tuple[int, int], fps: float, images: str) -> dict[str, Any]:
    height, width = size
    feature: dict[str, Any] = {
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
    }
    if images == "png":
        return {"dtype": "image"} | feature
    info = {"video.height": height, "video.width": width, "video.channels": 3, "video.codec": "av1"}
    info |= {
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "has_audio": False,
    }
    return {"dtype": "video"} | feature | {"info": info}


def _arrow_type(feature: Mapping[str, Any]) -> pa.DataType:
    if feature["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    value = {"bool": pa.bool_(), "int64": pa.int64(), "float32": pa.float32()}[feature["dtype"]]
    return value if feature["shape"] == [1] else pa.list_(value, feature["shape"][0])


def _huggingface_feature(feature: Mapping[str, Any]) -> dict[str, Any]:
    """A feature as Hugging Face datasets describes it."""
    if feature["dtype"] == "image":
        return {"_type": "Image"}
    value = {"dtype": feature["dtype"], "_type": "Value"}
    if feature["shape"] == [1]:
        return value
    return {"feature": value, "length": feature["shape"][0], "_type": "Sequence"}


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    kinds = {"pandas_type": pandas_type, "numpy_type": numpy_type}
    return {"name": name, "field_name": name, **kinds, "metadata": None}


_PANDAS = {
    "column_indexes": [
        _pandas_column("None", "unicode", "object")
        | {"name": None, "metadata": {"encoding": "UTF-8"}}
    ],
    "attributes": {},
    "creator": {"library": "pyarrow", "version": pa.__version__},
    "pandas_version": "2.3.3",
}
