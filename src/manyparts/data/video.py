"""Videos as LeRobot stores them (AV1, every second frame a key frame): encode episodes, join them,
read frames."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from manyparts.core.errors import UserError


def encode_video(frames: np.ndarray, fps: float) -> bytes:
    """uint8 (T, h, w, 3) frames to an mp4 (libsvtav1, yuv420p, g=2, crf=30) in memory. Lossy."""
    os.environ.setdefault(
        "SVT_LOG", "1"
    )  # the encoder writes to stderr unless told to keep to errors
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libsvtav1", rate=_rate(fps), options={"g": "2", "crf": "30"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        with _ordinary_priority():
            stream.codec_context.open()
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@contextlib.contextmanager
def _ordinary_priority() -> Iterator[None]:
    """Where it may, as root may on Linux, SVT-AV1 puts its threads and the one that opens it before
    all else on the machine (SCHED_FIFO, 99) and leaves them there; what the process starts later is
    born so, too, and on two cores a browser that was, let nothing else run. Here all are put back
    when it is open."""
    if not hasattr(os, "sched_getscheduler") or os.sched_getscheduler(0) == os.SCHED_FIFO:
        yield
        return
    own, before = os.sched_getscheduler(0), _threads()
    try:
        yield
    finally:
        for thread in {threading.get_native_id()} | (
            _threads() - before
        ):  # a user's real-time threads stay so
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                    os.sched_setscheduler(thread, own, os.sched_param(0))


def _threads() -> set[int]:
    """Of this process, by the numbers that the system has for them."""
    return {int(path.name) for path in Path("/proc/self/task").glob("*")}


class VideoWriter:
    """One mp4 to which encoded episodes are joined without encoding them again."""

    def __init__(self, path: Path, fps: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(os.path.abspath(path), "w", format="mp4")
        self._stream: av.VideoStream | None = None
        self._fps = fps
        self.frames = 0
        self.bytes = 0

    def add(self, video: bytes, length: int) -> tuple[float, float]:
        """Join an episode of `length` frames. Returns the seconds at which it begins and ends in
        this file."""
        with av.open(io.BytesIO(video), "r") as source:
            shown = source.streams.video[0]
            if self._stream is None:
                self._stream = self._container.add_stream_from_template(shown, opaque=True)
            assert shown.time_base is not None
            first = round(Fraction(self.frames) / _rate(self._fps) / shown.time_base)
            for packet in source.demux(shown):
                if packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + first, packet.dts + first
                    packet.stream = self._stream
                    self._container.mux(packet)
        begin = self.frames / self._fps
        self.frames += length
        self.bytes += len(video)
        return begin, self.frames / self._fps

    def close(self) -> None:
        self._container.close()


@dataclass(frozen=True)
class PixelFormat:
    """How a video keeps its pixels. bits: of a channel, the most. colours: channels but for alpha.
    size: (height, width)."""

    name: str
    bits: int
    colours: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Timeline:
    """When the frames of a video are shown: int64 (n,) ascending, in units of `base` seconds; and
    how it keeps them."""

    ticks: np.ndarray
    base: float
    pixels: PixelFormat

    @property
    def seconds(self) -> np.ndarray:
        return self.ticks * self.base


def pixel_format(file: Path | BinaryIO) -> PixelFormat:
    """Of a video file. Raises UserError naming it if it is torn."""
    with _reading(file) as (container, stream):
        return _pixels(container, stream)


def _pixels(container: InputContainer, stream: av.VideoStream) -> PixelFormat:
    known = stream.codec_context.format or next(container.decode(stream)).format
    channels = [channel for channel in known.components if not channel.is_alpha]
    return PixelFormat(
        name=known.name,
        bits=max(channel.bits for channel in channels),
        colours=3 if known.has_palette else len(channels),
        size=(stream.codec_context.height, stream.codec_context.width),
    )


def read_timeline(path: Path) -> Timeline:
    """When each frame of a video is shown, without decoding it. Raises UserError naming the file if
    it is torn."""
    with _reading(path) as (container, stream):
        assert stream.time_base is not None
        pixels = _pixels(container, stream)
        packets = [
            packet.pts
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        ]
        return Timeline(
            np.sort(np.asarray(packets, dtype=np.int64)), float(stream.time_base), pixels
        )


def read_frames(path: Path, ticks: np.ndarray) -> np.ndarray:
    """The frames of a video that are shown at these times of its timeline, ascending: uint8 (n, h,
    w, 3).

    Raises UserError naming the file if it is torn, or a frame cannot be had.
    """
    with _reading(path) as (container, stream):
        assert stream.time_base is not None
        # A frame may need others than those from the key frame on that a search by its time finds.
        for earlier in (0.0, 2.0, 20.0, float("inf")):
            start = 0 if earlier == float("inf") else int(ticks[0] - earlier / stream.time_base)
            frames = _decode(container, stream, ticks, max(0, start))
            if len(frames) == len(ticks):
                return np.stack(frames)
    seconds = float(ticks[len(frames)] * stream.time_base)
    raise UserError(f"{path} has no frame at {seconds:.3f} s that can be decoded")


def _decode(
    container: InputContainer, stream: av.VideoStream, ticks: np.ndarray, start: int
) -> list[np.ndarray]:
    """From a key frame at or before `start` on, until one is missing."""
    frames: list[np.ndarray] = []
    container.seek(start, stream=stream)
    for frame in container.decode(stream):
        if frame.pts is None or frame.pts < ticks[len(frames)]:
            continue
        if frame.pts > ticks[len(frames)]:
            break
        frames.append(frame.to_ndarray(format="rgb24"))
        if len(frames) == len(ticks):
            break
    return frames


@contextlib.contextmanager
def _reading(path: Path | BinaryIO) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    try:
        with av.open(os.path.abspath(path) if isinstance(path, Path) else path, "r") as container:
            yield container, container.streams.video[0]
    except UserError:
        raise
    except (FFmpegError, IndexError, ValueError, StopIteration) as error:
        raise UserError(f"{path} cannot be read as video: {error}") from error


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(10_000)
