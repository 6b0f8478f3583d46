"""Which frame of a video belongs to which row: by their order where the file has a frame a row,
else by their times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TOLERANCE = 0.501  # of a frame
_DELAY = 2.5  # frames: what an encoder that looks ahead may leave at the beginning; more is a beginning that was lost


@dataclass(frozen=True)
class Video:
    """Where an episode's frames of one camera lie, by metadata: a file, and the seconds in it at
    which they begin.

    before, total: frames of the episodes that lie before it in the file, and of all in it. start:
    seconds at which the first of them begins.
    """

    file: Path
    begin: float
    before: int = 0
    total: int = 0
    start: float = 0.0


def locate_videos(files: Sequence[Path], begins: np.ndarray, lengths: np.ndarray) -> list[Video]:
    """Videos of episodes that share files."""
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
    """The episodes that begin before the one in front of them in the same file has ended, and that
    one."""
    order = [index for index, video in enumerate(videos) if video is not None]
    order.sort(key=lambda index: _place(videos[index]))
    sharing: set[int] = set()
    for first, second in itertools.pairwise(order):
        one, other = videos[first], videos[second]
        assert one is not None and other is not None
        if one.file == other.file and other.begin < one.begin + (lengths[first] - 0.5) / fps:
            sharing |= {first, second}
    return sorted(sharing)


def frame_numbers(
    seconds: np.ndarray, video: Video, rows: np.ndarray, stamps: np.ndarray, fps: float
) -> np.ndarray:
    """Which frames of a file show some rows of an episode: int64 (n,).

    seconds: when each frame of the file is shown, ascending. rows: (n,), ascending. stamps: (n,),
    the rows' timestamps in the episode. Raises ValueError where times disagree by more than half a
    frame.
    """
    near = _TOLERANCE / fps
    if (
        len(seconds) < video.total
    ):  # frames were lost; what comes after the first of them is shown too early
        raise ValueError(f"the file has {len(seconds)} frames for {video.total} rows")
    if len(seconds) == video.total:
        # A frame a row: counted through. An encoder's delay shifts all equally, and does not
        # matter.
        numbers = video.before + rows
        shift = seconds[0] - video.start
        if abs(shift) * fps <= _DELAY and _agree(
            seconds[numbers] - shift, video.begin + rows / fps, near
        ):
            return numbers
        if _agree(seconds[numbers], video.begin + stamps, near):
            return numbers
        _refuse(seconds[numbers], video.begin + rows / fps, rows)
    wanted = video.begin + stamps
    if not _agree(np.diff(stamps), np.diff(rows) / fps, near):
        raise ValueError(f"timestamps are not {1 / fps:.3f} s apart")
    if (
        min(abs(seconds[0]), abs(seconds[0] - video.start)) > near
    ):  # all may be late by as much, or the first are lost
        raise ValueError(
            f"the first frame is shown at {seconds[0]:.3f} s, more than half a frame apart from 0"
        )
    numbers = _nearest(seconds, wanted)
    if not _agree(seconds[numbers], wanted, near):
        _refuse(seconds[numbers], wanted, rows)
    return numbers


def _nearest(seconds: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of the ascending times is nearest to each wanted one: int64 (n,)."""
    after = np.clip(np.searchsorted(seconds, wanted), 1, max(1, len(seconds) - 1))
    before = after - 1
    after = np.minimum(after, len(seconds) - 1)
    return np.where(wanted - seconds[before] <= seconds[after] - wanted, before, after)


def _agree(shown: np.ndarray, wanted: np.ndarray, near: float) -> bool:
    return bool((np.abs(shown - wanted) <= near).all())


def _refuse(shown: np.ndarray, wanted: np.ndarray, rows: np.ndarray) -> None:
    worst = int(np.abs(shown - wanted).argmax())
    raise ValueError(
        f"the frame of row {rows[worst]} is shown at {shown[worst]:.3f} s, expected at {wanted[worst]:.3f} s, "
        "more than half a frame apart"
    )


def _place(video: Video | None) -> tuple[str, int]:
    return ("", 0) if video is None else (str(video.file), video.before)
