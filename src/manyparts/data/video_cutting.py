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

_MAX_REORDERED = 32  # packets by which a frame may be decoded later than shown; codecs allow 16


@dataclass(frozen=True)
class Span:
    """Frames of a video that follow each other when it is shown."""

    first: int
    """The first frame, counted in the order of time."""
    count: int
    """How many frames."""

    @property
    def last(self) -> int:
        """The last frame."""
        return self.first + self.count - 1


@dataclass(frozen=True)
class Cut:
    """What was cut out of a video."""

    firsts: tuple[int, ...]
    """The first frame of each span in the written file, counted in the order of time."""
    others: int
    """How many frames of the written file belong to no span."""


@dataclass(frozen=True)
class _Packets:
    """The packets of a video in the order in which they are decoded; times in ticks."""

    times: np.ndarray
    """int64 (n,), when each is shown."""
    ranks: np.ndarray
    """int64 (n,), which frame each is, counted in the order of time."""
    decoded: np.ndarray
    """int64 (n,), when each is decoded."""
    is_key: np.ndarray
    """bool (n,), whether decoding can begin here."""


def cut_video(source: Path, target: Path, spans: Sequence[Span], fps: float) -> Cut | None:
    """Write a video of some spans of another one, as they are encoded there.

    Decoding can begin at key frames only, so frames between the last one and a span are written,
    too. The written file begins at 0 s, and all its frames follow each other at the rate.

    Args:
        source: the video.
        target: the file to write; its folder exists.
        spans: the spans, ascending.
        fps: frames per second.

    Returns:
        What was cut out. None if it is not possible, or would take all frames; then there is no
        `target`.

    Raises:
        OSError: the disk is full.
    """
    try:
        cut = _cut(source, target, spans, fps)
        if cut is not None and _shows_the_same(source, target, spans, cut):
            return cut
    except (FFmpegError, UserError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
    target.unlink(missing_ok=True)
    return None


def _cut(source: Path, target: Path, spans: Sequence[Span], fps: float) -> Cut | None:
    with av.open(os.path.abspath(source), "r") as container:
        packets = _read_packets(container)
        base = container.streams.video[0].time_base if packets is not None else None
    if packets is None or base is None:
        return None
    runs = _runs(packets, spans)
    if runs is None or sum(map(len, runs)) == len(packets.times):
        return None
    ticks_per_frame = 1 / frame_rate(fps) / base
    shifts = np.zeros(len(packets.times), np.int64)  # in ticks
    kept = np.zeros(len(packets.times), bool)
    before, last_decoded, first_of = 0, None, dict[int, int]()
    for run in runs:
        begin = packets.times[run.start : run.stop].min()
        shift = round(before * ticks_per_frame) - int(begin)
        if last_decoded is not None and packets.decoded[run.start] + shift <= last_decoded:
            return None
        last_decoded = int(packets.decoded[run.stop - 1]) + shift
        kept[run.start : run.stop], shifts[run.start : run.stop] = True, shift
        first_of[int(packets.ranks[run.start : run.stop].min())] = before
        before += len(run)
    firsts = []
    for span in spans:
        rank = max(rank for rank in first_of if rank <= span.first)
        firsts.append(first_of[rank] + span.first - rank)
    _copy_packets(source, target, kept, shifts)
    return Cut(tuple(firsts), before - sum(span.count for span in spans))


def _runs(packets: _Packets, spans: Sequence[Span]) -> list[range] | None:
    """The packets that are needed to show some spans, in the order of decoding.

    Returns:
        Runs of packets that follow each other, each of frames that follow each other, without an
        overlap; None if a span cannot be shown alone.
    """
    position = np.argsort(packets.ranks)
    runs: list[range] = []
    for span in spans:
        members = position[span.first : span.first + span.count]
        run = _run(packets, members) if len(members) == span.count else None
        if run is None:
            return None
        while runs and run.start < runs[-1].stop:
            last = runs.pop()
            run = range(min(run.start, last.start), max(run.stop, last.stop))
        runs.append(run)
    return runs


def _run(packets: _Packets, members: np.ndarray) -> range | None:
    """The shortest run with some packets that begins with a key frame and lacks no frame between.

    None if there is no such run: frames that are shown before a key frame and decoded after it
    depend on earlier ones, so that the run has to begin with an earlier key frame.
    """
    first, stop = int(members.min()), int(members.max()) + 1
    last_stop = min(stop + _MAX_REORDERED, len(packets.ranks))
    for begin in np.flatnonzero(packets.is_key[: first + 1])[::-1].tolist():
        for end in range(stop, last_stop + 1):
            ranks = packets.ranks[begin:end]
            if ranks.min() < ranks[0]:
                break
            if ranks.max() - ranks[0] + 1 == len(ranks):
                return range(begin, end)
    return None


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
        times=np.asarray(times, np.int64),
        ranks=np.argsort(np.argsort(np.asarray(times, np.int64))),
        decoded=np.asarray(decoded, np.int64),
        is_key=np.asarray(is_key, bool),
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


def _shows_the_same(source: Path, target: Path, spans: Sequence[Span], cut: Cut) -> bool:
    """Whether the first and the last frame of each span are the same in both files."""
    before, after = read_timeline(source), read_timeline(target)
    if len(after.ticks) != cut.others + sum(span.count for span in spans):
        return False
    for span, first in zip(spans, cut.firsts, strict=True):
        for own, others in ((first, span.first), (first + span.count - 1, span.last)):
            shown = read_frames(target, after.ticks[[own]])
            if not np.array_equal(shown, read_frames(source, before.ticks[[others]])):
                return False
    return True
