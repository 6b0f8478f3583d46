"""Small replay buffers in zarr, as Diffusion Policy and UMI lay them out, written by numcodecs and
imagecodecs.

State of row t of episode e is 100 e + t in each dimension and d / 64 more in dimension d; its
action is 0.5 more. `marked` images carry episode, row and camera, and show how they are turned.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imagecodecs
import numcodecs
import numpy as np

LENGTHS, SIZE = (6, 5, 4), 32
LZ4 = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}
JPEG_XL = {"id": "imagecodecs_jpegxl", "level": 99, "lossless": False}


def numbers(episode: int, row: int, dimensions: int, first: int = 0) -> np.ndarray:
    return 100 * episode + row + (first + np.arange(dimensions)) / 64


def marked(episode: int, row: int, camera: int = 0, size: int = SIZE) -> np.ndarray:
    """A dark colour of the three numbers; white in the upper left quarter, red in the upper
    right."""
    image = np.full((size, size, 3), (10 + 20 * episode, 10 + 10 * row, 30 + 60 * camera), np.uint8)
    image[: size // 2, : size // 2] = 250
    image[: size // 2, size // 2 :] = (220, 30, 30)
    return image


def read_mark(image: np.ndarray) -> tuple[int, int, int]:
    """The episode, row and camera that an upright image of `marked` shows."""
    half = len(image) // 2
    assert image[: half - 2, : half - 2].min() > 200, "no white quarter in the upper left"
    red = image[: half - 2, half + 2 :].mean(axis=(0, 1))
    assert red[0] > 150 > red[2], "no red quarter in the upper right"
    red, green, blue = image[half + 2 :].reshape(-1, 3).astype(float).mean(axis=0)
    return round((red - 10) / 20), round((green - 10) / 10), round((blue - 30) / 60)


def stacked(cell: Callable[[int, int], Any], lengths: Sequence[int] = LENGTHS) -> np.ndarray:
    """The cells of all rows of all episodes."""
    rows = [(episode, row) for episode, count in enumerate(lengths) for row in range(count)]
    return np.stack([np.asarray(cell(episode, row)) for episode, row in rows])


def pusht() -> dict[str, np.ndarray]:
    """The arrays of a set with floats for images."""
    return {
        "img": stacked(marked).astype(np.float32),
        "state": stacked(lambda e, t: numbers(e, t, 3)).astype(np.float32),
        "action": stacked(lambda e, t: numbers(e, t, 2) + 0.5).astype(np.float32),
        "keypoint": np.zeros((sum(LENGTHS), 9, 2), np.float32),
    }


def umi(robots: int = 1) -> dict[str, np.ndarray]:
    """The arrays of a set without actions."""
    data: dict[str, np.ndarray] = {}
    for robot in range(robots):
        first = 10 * robot
        name = f"robot{robot}"
        pose = stacked(lambda e, t, first=first: numbers(e, t, 7, first)).astype(np.float32)
        data[f"{name}_eef_pos"] = pose[:, :3]
        data[f"{name}_eef_rot_axis_angle"] = pose[:, 3:6]
        data[f"{name}_gripper_width"] = pose[:, 6:]
        for part in ("start", "end"):
            demo = stacked(lambda e, t: numbers(e, 0, 6))
            data[f"{name}_demo_{part}_pose"] = demo
        data[f"camera{robot}_rgb"] = stacked(lambda e, t, robot=robot: marked(e, t, robot))
    return data


def encode(values: np.ndarray, codec: Mapping[str, Any] | None) -> bytes:
    if codec is None:
        return values.tobytes()
    if codec["id"] == "imagecodecs_jpegxl":
        return imagecodecs.jpegxl_encode(values[0], level=99, lossless=codec["lossless"])
    return bytes(numcodecs.get_codec(dict(codec)).encode(values))


def array_files(
    name: str,
    values: np.ndarray,
    *,
    chunk: Sequence[int] | None = None,
    codec: Mapping[str, Any] | None = LZ4,
    fill: Any = 0,
    order: str = "C",
    separator: str | None = None,
    version: int = 2,
) -> dict[str, bytes]:
    """The files of one array by their keys."""
    chunk = chunk or (4, *values.shape[1:])
    files, grid = {}, [range(-(-side // part)) for side, part in zip(values.shape, chunk)]  # noqa: B905
    prefix, separator = f"{name}/", separator or ("." if version == 2 else "/")
    if version == 2:
        described = {
            "zarr_format": 2,
            "shape": values.shape,
            "chunks": chunk,
            "dtype": values.dtype.str,
            "compressor": codec,
            "fill_value": fill,
            "filters": None,
            "order": order,
        } | ({"dimension_separator": separator} if separator != "." else {})
        files[f"{name}/.zarray"] = json.dumps(described).encode()
    else:
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        options = {key: value for key, value in (codec or {}).items() if key != "id"}
        codecs = [little, *([{"name": codec["id"], "configuration": options}] if codec else [])]
        described = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": values.shape,
            "data_type": str(values.dtype),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
            "fill_value": fill,
            "codecs": codecs,
        }
        files[f"{name}/zarr.json"] = json.dumps(described).encode()
        prefix += f"c{separator}"
    for index in itertools.product(*grid):
        block = np.zeros(chunk, values.dtype)  # the last chunk is stored whole
        corner = tuple(
            slice(number * side, (number + 1) * side)
            for number, side in zip(index, chunk, strict=True)
        )
        part = values[corner]
        block[tuple(map(slice, part.shape))] = part
        content = block if order == "C" else block.ravel(order="F")
        files[prefix + separator.join(map(str, index))] = encode(content, codec)
    return files


def store_files(
    data: Mapping[str, np.ndarray],
    ends: Sequence[int] | None = None,
    *,
    version: int = 2,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    **all_arrays: Any,
) -> dict[str, bytes]:
    """The files of a replay buffer. options: those of `array_files` by array; all_arrays: those of
    all arrays of data/."""
    ends = np.cumsum(LENGTHS).tolist() if ends is None else ends
    if version == 2:
        group, name = b'{"zarr_format": 2}', ".zgroup"
    else:
        group, name = b'{"zarr_format": 3, "node_type": "group"}', "zarr.json"
    files = {prefix + name: group for prefix in ("", "data/", "meta/")}
    for key, values in data.items():
        more = {**all_arrays, **((options or {}).get(key) or {})}
        files |= array_files(f"data/{key}", values, version=version, **more)
    marks = np.asarray(ends, np.int64)
    return files | array_files(
        "meta/episode_ends", marks, chunk=(max(1, len(marks)),), codec=None, version=version
    )


def put(path: Path, files: Mapping[str, bytes], root: str = "") -> Path:
    """Write files to a folder, or to a zip below the folder `root` in it."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for key, content in files.items():
                archive.writestr(root + key, content)
        return path
    for key, content in files.items():
        file = path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


def write_pusht(path: Path, **options: Any) -> Path:
    return put(path, store_files(pusht(), **options))


def write_umi(path: Path, robots: int = 1) -> Path:
    data = umi(robots)
    encoded = {"codec": JPEG_XL, "chunk": (1, SIZE, SIZE, 3)}
    options = {f"camera{robot}_rgb": encoded for robot in range(robots)}
    return put(path, store_files(data, options=options, codec=None, chunk=None))


def real(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a real robot's set, at 10 Hz."""
    data = {
        "timestamp": stacked(lambda e, t: 1.7e9 + 60 * e + t / 10),
        "action": stacked(lambda e, t: numbers(e, t, 6) + 0.5),
        "stage": stacked(lambda e, t: t // 3),
        "robot_joint": stacked(lambda e, t: numbers(e, t, 6, first=6)),
        "robot_eef_pose": stacked(lambda e, t: numbers(e, t, 6)),
    }
    return data | changed


def write_video(path: Path, frames: Sequence[np.ndarray], rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(rate), options={"crf": "16"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))


def write_real(
    folder: Path, data: Mapping[str, np.ndarray] | None = None, *, frames_per_row: int = 3
) -> Path:
    """A store with two videos an episode. Their frames come more often than rows."""
    put(folder / "replay_buffer.zarr", store_files(data or real()))
    for episode, length in enumerate(LENGTHS):
        for camera in (0, 1):
            shown = [marked(episode, row, camera) for row in range(length)]
            frames = [frame for frame in shown for _ in range(frames_per_row)]
            path = folder / f"videos/{episode}/{camera}.mp4"
            write_video(path, frames, 10 * frames_per_row)
    return folder
