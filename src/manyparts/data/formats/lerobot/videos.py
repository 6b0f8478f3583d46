"""Match frames of a video with rows: by order if the file has one frame per row, else by time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TOLERANCE = 0.501  # in frames
# In frames: the delay that an encoder with lookahead may leave at the start. With a longer one,
# frames were lost at the start.
_MAX_DELAY = 2.5


@dataclass(frozen=True)
class Video:
    """Where an episode's frames of one camera are, by metadata."""

    file: Path
    """The video file."""
    begin: float
    """Seconds in the file at which the episode begins."""
    before: int = 0
    """Frames of the episodes before it in the file."""
    total: int = 0
    """Frames of all episodes in the file."""
    start: float = 0.0
    """Seconds at which the first episode of the file begins."""


def locate_videos(files: Sequence[Path], begins: np.ndarray, lengths: np.ndarray) -> list[Video]:
    """Locate the videos of n episodes that share files.

    Args:
        files: n, the file of each episode.
        begins: float64 (n,), seconds at which each begins in its file.
        lengths: int64 (n,), frames per episode.
    """
    by_file: dict[Path, list[int]] = {}
    for index, file in enumerate(files):
        by_file.setdefault(file, []).append(index)
    videos: dict[int, Video] = {}
    for file, members in by_file.items():
        order = sorted(members, key=lambda index: (begins[index], index))
        before = np.concatenate([[0], np.cumsum(lengths[order])]).tolist()
        for index, count in zip(order, before[:-1], strict=True):
            videos[index] = Video(
                file, float(begins[index]), count, before[-1], float(begins[order[0]])
            )
    return [videos[index] for index in range(len(files))]


def overlapping(videos: Sequence[Video | None], lengths: np.ndarray, fps: float) -> list[int]:
    """The indices of all episodes that overlap with a neighbour in the same file, ascending.

    Args:
        videos: n, the video of each episode; None for an episode that has none.
        lengths: int64 (n,), frames per episode.
        fps: frames per second.
    """
    order = [index for index, video in enumerate(videos) if video is not None]
    order.sort(key=lambda index: _position(videos[index]))
    overlaps: set[int] = set()
    for first, second in itertools.pairwise(order):
        earlier, later = videos[first], videos[second]
        assert earlier is not None and later is not None
        end = earlier.begin + (lengths[first] - 0.5) / fps
        if earlier.file == later.file and later.begin < end:
            overlaps |= {first, second}
    return sorted(overlaps)


def frame_numbers(
    seconds: np.ndarray, video: Video, rows: np.ndarray, stamps: np.ndarray, fps: float
) -> np.ndarray:
    """Which frames of a file show some rows of an episode.

    Args:
        seconds: float64, the time of each frame of the file, ascending.
        video: where the episode is in the file.
        rows: (n,), steps of the episode, ascending.
        stamps: (n,), the rows' timestamps in the episode.
        fps: frames per second.

    Returns:
        int64 (n,), indices of frames.

    Raises:
        ValueError: if times disagree by more than half a frame.
    """
    tolerance = _TOLERANCE / fps
    if len(seconds) < video.total:  # frames were lost, and all after the first of them are early
        raise ValueError(f"the file has {len(seconds)} frames for {video.total} rows")
    if len(seconds) == video.total:
        # One frame per row, so they are counted. An encoder's delay shifts all equally.
        numbers = video.before + rows
        shift = seconds[0] - video.start
        expected = video.begin + rows / fps
        if abs(shift) * fps <= _MAX_DELAY and _agree(seconds[numbers] - shift, expected, tolerance):
            return numbers
        if _agree(seconds[numbers], video.begin + stamps, tolerance):
            return numbers
        _refuse(seconds[numbers], expected, rows)
    expected = video.begin + stamps
    if not _agree(np.diff(stamps), np.diff(rows) / fps, tolerance):
        raise ValueError(f"timestamps are not {1 / fps:.3f} s apart")
    # Either all frames are late by as much, or the first ones were lost.
    if min(abs(seconds[0]), abs(seconds[0] - video.start)) > tolerance:
        raise ValueError(
            f"the first frame is shown at {seconds[0]:.3f} s, more than half a frame apart from 0"
        )
    numbers = _nearest(seconds, expected)
    if not _agree(seconds[numbers], expected, tolerance):
        _refuse(seconds[numbers], expected, rows)
    return numbers


def _nearest(seconds: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Which of the ascending `seconds` is nearest to each of the times: int64 (n,)."""
    after = np.clip(np.searchsorted(seconds, times), 1, max(1, len(seconds) - 1))
    before = after - 1
    after = np.minimum(after, len(seconds) - 1)
    return np.where(times - seconds[before] <= seconds[after] - times, before, after)


def _agree(times: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return bool((np.abs(times - expected) <= tolerance).all())


def _refuse(times: np.ndarray, expected: np.ndarray, rows: np.ndarray) -> None:
    """Raise the error for the frame with the time furthest from the expected one."""
    worst = int(np.abs(times - expected).argmax())
    raise ValueError(
        f"the frame of row {rows[worst]} is shown at {times[worst]:.3f} s, "
        f"expected at {expected[worst]:.3f} s, more than half a frame apart"
    )


def _position(video: Video | None) -> tuple[str, int]:
    return ("", 0) if video is None else (str(video.file), video.before)
