"""Small H.264 videos for people, which every browser plays."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from manyparts.core.errors import UserError


def write_video(path: Path, frames: Iterable[np.ndarray], *, fps: float, quality: int = 30) -> None:
    """Write uint8 (h, w, 3) frames with even h and w, at least one, to an mp4, all of it or
    nothing.

    H.264, yuv420p, its index first so that it plays while it loads. quality: x264's constant rate
    factor; more is smaller. Raises UserError if the disk refuses.
    """
    remaining = iter(frames)
    first = next(remaining)
    height, width = first.shape[:2]
    assert height % 2 == width % 2 == 0, (height, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    options = {"crf": str(quality), "preset": "slow", "threads": "1"}
    try:
        with av.open(
            os.path.abspath(temporary), "w", format="mp4", options={"movflags": "+faststart"}
        ) as container:
            stream = container.add_stream(
                "libx264", rate=Fraction(fps).limit_denominator(1000), options=options
            )
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for frame in chain([first], remaining):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None
