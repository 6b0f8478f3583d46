"""Folders of ALOHA's episodes, laid out as ACT's and Mobile ALOHA's own programs write them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from data.formats.known import images, numbers
from PIL import Image

LENGTHS = (6, 5, 4)
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
Change = Callable[[int, Any], None]


def aloha(
    folder: Path,
    *,
    lengths: Sequence[int] = LENGTHS,
    cameras: Sequence[str] = CAMERAS,
    jpeg: str = "",
    mobile: bool = False,
    change: Change | None = None,
) -> Path:
    """A file an episode.

    Args:
        folder: to be made.
        lengths: rows of each episode.
        cameras: their names.
        jpeg: "" for raw images; "bgr" for JPEGs of OpenCV's that was given red, green, blue, with
            their lengths, as act-plus-plus writes them; "rgb" for JPEGs with the right colours.
        mobile: write base_action, and no attribute sim.
        change: is given the number and the opened file of each episode.
    """
    folder.mkdir(parents=True)
    for episode, rows in enumerate(lengths):
        with h5py.File(folder / f"episode_{episode}.hdf5", "w") as root:
            if not mobile:
                root.attrs["sim"] = False
            sizes = []
            for number, camera in enumerate(cameras):
                frames = images(episode, rows, number)
                if not jpeg:
                    write_raw(root, camera, frames)
                    continue
                contents = [encoded(frame, jpeg) for frame in frames]
                sizes.append([len(content) for content in contents])
                write_padded(root, camera, contents)
            if jpeg:
                root.attrs["compress"] = True
            if jpeg == "bgr":
                root["compress_len"] = np.array(sizes, np.float32)
            root["observations/qpos"] = numbers(episode, rows, 14)
            root["observations/qvel"] = numbers(episode, rows, 14) / 128
            root["action"] = numbers(episode, rows, 14) + 0.5
            if mobile:
                root["base_action"] = numbers(episode, rows, 2) - 0.5
            if change:
                change(episode, root)
    return folder


def write_raw(root: Any, camera: str, frames: np.ndarray) -> None:
    """Images (T, h, w, 3) in place of those that may be there."""
    name = f"observations/images/{camera}"
    if name in root:
        del root[name]
    root.create_dataset(name, data=frames, chunks=(1, *frames.shape[1:]))


def write_padded(root: Any, camera: str, contents: Sequence[bytes]) -> None:
    """Encoded images as rows of bytes, with zeros behind them to one length."""
    rows = np.zeros((len(contents), max(map(len, contents))), np.uint8)
    for row, content in zip(rows, contents, strict=True):
        row[: len(content)] = np.frombuffer(content, np.uint8)
    root[f"observations/images/{camera}"] = rows


def encoded(frame: np.ndarray, jpeg: str) -> bytes:
    """A JPEG. bgr: as OpenCV makes it of red, green, blue, which it takes for blue, green, red."""
    content = io.BytesIO()
    Image.fromarray(frame[..., ::-1] if jpeg == "bgr" else frame).save(content, "JPEG", quality=50)
    return content.getvalue()
