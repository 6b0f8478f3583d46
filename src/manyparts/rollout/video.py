"""Small H.264 videos for people, which every browser plays."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from manyparts.core.storage.atomic import atomic_file


def write_video(path: Path, frames: Iterable[np.ndarray], *, fps: float, quality: int = 30) -> None:
    """Write frames to an mp4 file (H.264, yuv420p), the whole file or none.

    Args:
        path: The file; its folder is made.
        frames: uint8 (h, w, 3) with even h and w, at least one.
        fps: Frames per second.
        quality: x264's constant rate factor; a larger one makes a smaller file.

    Raises:
        UserError: The disk refuses.
    """
    remaining = iter(frames)
    first = next(remaining)
    height, width = first.shape[:2]
    assert height % 2 == width % 2 == 0, (height, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"crf": str(quality), "preset": "slow", "threads": "1"}
    index_first = {"movflags": "+faststart"}  # so that a browser plays the file while it loads
    with (
        atomic_file(path) as temporary,
        av.open(os.path.abspath(temporary), "w", format="mp4", options=index_first) as container,
    ):
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options=options
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in chain([first], remaining):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
