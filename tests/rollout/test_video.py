"""Videos for people: whole or absent, small, and playable in a browser."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.rollout.video import write_video


def moving_square(steps: int, size: int = 256) -> list[np.ndarray]:
    frames = np.full((steps, size, size, 3), 90, np.uint8)
    for step in range(steps):
        frames[step, 100:140, 2 * step : 2 * step + 40] = (230, 40, 40)
    return list(frames)


def test_a_video_shows_what_was_filmed(tmp_path: Path) -> None:
    frames = moving_square(60)
    path = tmp_path / "videos" / "one.mp4"
    write_video(path, frames, fps=80 / 4)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 20
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(shown) == 60
    for frame, seen in zip(frames, shown, strict=True):
        assert np.abs(frame.astype(int) - seen).mean() < 4
    assert path.stat().st_size < 40_000
    assert [file.name for file in path.parent.iterdir()] == ["one.mp4"]


def test_the_index_comes_before_the_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", moving_square(5), fps=20.0)
    content = (tmp_path / "one.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_equal_frames_give_equal_files(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / name, moving_square(10), fps=20.0)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(UserError, match=r"cannot write /proc/one\.mp4"):
        write_video(Path("/proc/one.mp4"), moving_square(2), fps=20.0)
