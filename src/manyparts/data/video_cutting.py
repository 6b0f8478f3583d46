"""Cut spans of frames out of a video without encoding them again."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from manyparts.core.errors import UserError
from manyparts.data.video import frame_rate, read_frames, read_timeline


@dataclass(frozen=True)
class Span:
    """Frames of a video that follow each other when it is shown."""

    first: int
    """The first frame, counted in the order of time."""
    count: int
    """How many frames."""


@dataclass(frozen=True)
class _Packets:
    """The packets of a video in the order in which they are decoded; times in ticks."""

    times: np.ndarray
    """int64 (n,), when each is shown."""
    decoded: np.ndarray
    """int64 (n,), when each is decoded."""
    is_key: np.ndarray
    """bool (n,), whether decoding can begin here."""


def cut_video(source: Path, target: Path, spans: Sequence[Span], fps: float) -> bool:
    """Write a video of some spans of another one, as they are encoded there.

    A span can be cut out if it begins with a key frame, and none of its frames is decoded among
    those of others. The written file begins at 0 s, and its spans follow each other at the rate.

    Args:
        source: the video.
        target: the file to write; its folder exists.
        spans: the spans, ascending.
        fps: frames per second.

    Returns:
        Whether it was possible. If not, there is no `target`.

    Raises:
        OSError: the disk is full.
    """
    try:
        if _cut(source, target, spans, fps) and _shows_the_same(source, target, spans):
            return True
    except (FFmpegError, UserError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
    target.unlink(missing_ok=True)
    return False


def _cut(source: Path, target: Path, spans: Sequence[Span], fps: float) -> bool:
    with av.open(os.path.abspath(source), "r") as container:
        packets = _read_packets(container)
        if packets is None:
            return False
        base = container.streams.video[0].time_base
        assert base is not None
        ticks_per_frame = 1 / frame_rate(fps) / base
        shifts = np.zeros(len(packets.times), np.int64)  # in ticks
        kept = np.zeros(len(packets.times), bool)
        order, before, last_decoded = np.argsort(packets.times, kind="stable"), 0, None
        for span in spans:
            members = np.sort(order[span.first : span.first + span.count])
            begin, end = int(members[0]), int(members[-1]) + 1
            if end - begin != span.count or len(members) != span.count or not packets.is_key[begin]:
                return False
            shift = round(before * ticks_per_frame) - int(packets.times[order[span.first]])
            if last_decoded is not None and packets.decoded[begin] + shift <= last_decoded:
                return False
            last_decoded = int(packets.decoded[end - 1]) + shift
            kept[begin:end], shifts[begin:end] = True, shift
            before += span.count
    _copy_packets(source, target, kept, shifts)
    return True


def _read_packets(container: InputContainer) -> _Packets | None:
    """The packets; None for a file that holds more than one plain stream of frames."""
    if len(container.streams) != 1 or len(container.streams.video) != 1:
        return None
    times, decoded, is_key = [], [], []
    for packet in container.demux(container.streams.video[0]):
        if packet.size == 0:  # the end
            continue
        if packet.pts is None or packet.dts is None or packet.is_discard:
            return None
        times.append(packet.pts)
        decoded.append(packet.dts)
        is_key.append(packet.is_keyframe)
    if len(set(times)) < len(times):
        return None
    return _Packets(
        np.asarray(times, np.int64), np.asarray(decoded, np.int64), np.asarray(is_key, bool)
    )


def _copy_packets(source: Path, target: Path, kept: np.ndarray, shifts: np.ndarray) -> None:
    """Write those packets of a video that are kept, each shifted by so many ticks."""
    with (
        av.open(os.path.abspath(source), "r") as container,
        av.open(os.path.abspath(target), "w", format="mp4") as output,
    ):
        stream = container.streams.video[0]
        written = output.add_stream_from_template(stream, opaque=True)
        written.time_base = stream.time_base
        packets = (packet for packet in container.demux(stream) if packet.size)
        for packet, is_kept, shift in zip(packets, kept, shifts.tolist(), strict=True):
            if is_kept:
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = written
                output.mux(packet)


def _shows_the_same(source: Path, target: Path, spans: Sequence[Span]) -> bool:
    """Whether the first and the last frame of each span are the same in both files."""
    before, after, start = read_timeline(source), read_timeline(target), 0
    if len(after.ticks) != sum(span.count for span in spans):
        return False
    for span in spans:
        for own, others in ((0, span.first), (span.count - 1, span.first + span.count - 1)):
            shown = read_frames(target, after.ticks[[start + own]])
            if not np.array_equal(shown, read_frames(source, before.ticks[[others]])):
                return False
        start += span.count
    return True
