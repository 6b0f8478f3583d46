"""Videos as LeRobot stores them (AV1, every second frame a key frame): encode, join, decode."""

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

_MAX_TIMELINES = 64  # kept in memory


def encode_video(frames: np.ndarray, fps: float) -> bytes:
    """Encode frames as a video in memory, which is lossy.

    Args:
        frames: uint8 (T, h, w, 3).
        fps: frames per second.

    Returns:
        An mp4 (libsvtav1, yuv420p, g=2, crf=30).
    """
    os.environ.setdefault("SVT_LOG", "1")  # errors only; else the encoder fills stderr
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(
            "libsvtav1", rate=frame_rate(fps), options={"g": "2", "crf": "30"}
        )
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
    """Undo the real-time priority that SVT-AV1 takes for its threads.

    Where it is allowed to (as root on Linux), the encoder gives its threads and the one that opens
    it the highest real-time priority (SCHED_FIFO, 99) and leaves them there. Programs that the
    process starts later inherit it: on two cores, a browser started so let nothing else run.
    """
    if not hasattr(os, "sched_getscheduler") or os.sched_getscheduler(0) == os.SCHED_FIFO:
        yield
        return
    policy, before = os.sched_getscheduler(0), _threads()
    try:
        yield
    finally:
        # Only this thread and the new ones: a user's own real-time threads keep their priority.
        for thread in {threading.get_native_id()} | (_threads() - before):
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                    os.sched_setscheduler(thread, policy, os.sched_param(0))


def _threads() -> set[int]:
    """The system's ids of this process's threads."""
    return {int(path.name) for path in Path("/proc/self/task").glob("*")}


class VideoWriter:
    """One mp4 that encoded episodes are appended to without encoding them again.

    Attributes:
        frames: frames written so far.
        bytes: bytes of the episodes written so far.
    """

    def __init__(self, path: Path, fps: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(os.path.abspath(path), "w", format="mp4")
        self._stream: av.VideoStream | None = None
        self._fps = fps
        self.frames = 0
        self.bytes = 0

    def add(self, video: bytes, length: int) -> tuple[float, float]:
        """Append an episode.

        Args:
            video: the episode as `encode_video` returns it.
            length: its number of frames.

        Returns:
            The seconds at which it begins and ends in this file.
        """
        with av.open(io.BytesIO(video), "r") as source:
            stream = source.streams.video[0]
            if self._stream is None:
                self._stream = self._container.add_stream_from_template(stream, opaque=True)
            assert stream.time_base is not None
            offset = round(Fraction(self.frames) / frame_rate(self._fps) / stream.time_base)
            for packet in source.demux(stream):
                if packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = self._stream
                    self._container.mux(packet)
        begin = self.frames / self._fps
        self.frames += length
        self.bytes += len(video)
        return begin, self.frames / self._fps

    def close(self) -> None:
        """Finish the file."""
        self._container.close()


def frame_rate(fps: float) -> Fraction:
    """Frames per second as a fraction, in which 29.97 has no rounding error that adds up."""
    return Fraction(fps).limit_denominator(10_000)


@dataclass(frozen=True)
class PixelFormat:
    """How a video stores its pixels."""

    name: str
    """FFmpeg's name of the format, such as "yuv420p"."""
    bits: int
    """Largest number of bits per channel."""
    colours: int
    """Number of channels without alpha."""
    size: tuple[int, int]
    """(height, width)."""


@dataclass(frozen=True)
class Timeline:
    """The times of a video's frames, and its pixel format."""

    ticks: np.ndarray
    """int64 (n,), the time of each frame, ascending, in units of `base` seconds."""
    base: float
    """Seconds per tick."""
    pixels: PixelFormat
    """How the frames are stored."""

    @property
    def seconds(self) -> np.ndarray:
        """float64 (n,), the time of each frame."""
        return self.ticks * self.base


def pixel_format(file: Path | BinaryIO) -> PixelFormat:
    """The pixel format of a video file. Raises UserError naming the file if it is torn."""
    with _opened(file) as (container, stream):
        return _pixels(container, stream)


def _pixels(container: InputContainer, stream: av.VideoStream) -> PixelFormat:
    format = stream.codec_context.format or next(container.decode(stream)).format
    channels = [channel for channel in format.components if not channel.is_alpha]
    return PixelFormat(
        name=format.name,
        bits=max(channel.bits for channel in channels),
        colours=3 if format.has_palette else len(channels),
        size=(stream.codec_context.height, stream.codec_context.width),
    )


def read_timeline(path: Path) -> Timeline:
    """The times of a video's frames, without decoding them.

    Raises:
        UserError: naming the file that is torn.
    """
    with _opened(path) as (container, stream):
        assert stream.time_base is not None
        pixels = _pixels(container, stream)
        times = [
            packet.pts
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        ]
        return Timeline(np.sort(np.asarray(times, dtype=np.int64)), float(stream.time_base), pixels)


class Timelines:
    """Timelines of videos, read when they are needed; the last ones stay in memory. They are not
    pickled."""

    def __init__(self) -> None:
        self._timelines: dict[Path, Timeline] = {}

    def __getitem__(self, file: Path) -> Timeline:
        """See `read_timeline`."""
        timeline = self._timelines.get(file)
        if timeline is None:
            timeline = read_timeline(file)
            if len(self._timelines) >= _MAX_TIMELINES:
                self._timelines.clear()
            self._timelines[file] = timeline
        return timeline

    def __getstate__(self) -> dict[str, dict[Path, Timeline]]:
        return {"_timelines": {}}


def read_frames(path: Path, ticks: np.ndarray) -> np.ndarray:
    """Decode some frames of a video.

    Args:
        path: the video file.
        ticks: int64 (n,), times of its timeline, ascending.

    Returns:
        uint8 (n, h, w, 3).

    Raises:
        UserError: naming the file that is torn, or a frame that cannot be decoded.
    """
    with _opened(path) as (container, stream):
        assert stream.time_base is not None
        # Seeking finds the key frame before a time, but a frame may depend on earlier ones: where
        # decoding from there fails, begin 2 s earlier, then 20 s, then at the start.
        for seconds_earlier in (0.0, 2.0, 20.0, float("inf")):
            start = 0
            if seconds_earlier != float("inf"):
                start = int(ticks[0] - seconds_earlier / stream.time_base)
            frames = _decode(container, stream, ticks, max(0, start))
            if len(frames) == len(ticks):
                return np.stack(frames)
    seconds = float(ticks[len(frames)] * stream.time_base)
    raise UserError(f"{path} has no frame at {seconds:.3f} s that can be decoded")


def _decode(
    container: InputContainer, stream: av.VideoStream, ticks: np.ndarray, start: int
) -> list[np.ndarray]:
    """The frames at `ticks`, from a key frame at or before `start` on, until one is missing."""
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
def _opened(path: Path | BinaryIO) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """A video file and its stream; what goes wrong becomes a UserError that names the file."""
    try:
        with av.open(os.path.abspath(path) if isinstance(path, Path) else path, "r") as container:
            stream = container.streams.video[0]
            if not isinstance(stream.codec_context, av.VideoCodecContext):
                raise UserError(f"{path} cannot be read as video: its codec is unknown")
            yield container, stream
    except UserError:
        raise
    except (FFmpegError, IndexError, ValueError, StopIteration) as error:
        raise UserError(f"{path} cannot be read as video: {error}") from error
