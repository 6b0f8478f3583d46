"""Windows of six steps in shuffled order, against those of other projects' loaders."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from benchmarks.harness import CLONE, Row, in_turns, rate
from benchmarks.memory import available_bytes
from benchmarks.peers import Peer
from manyparts.core.progress import progress_bar
from manyparts.core.records import Batch
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.formats.lerobot.writer import Images
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows
from manyparts.data.tools.convert import Format, convert
from manyparts.data.video import encode_video
from manyparts.envs.base import EnvConfig
from manyparts.rollout.collect import collect

_PYTHON, _SERVE = CLONE / ".peers/bin/python", CLONE / "scripts/peers/serve.py"
_CONFIG, _BATCH = WindowConfig(steps=6, chunk=1, paraphrases=False), 32
_SECONDS, _ROUNDS = 4.0, 3
_TASKS = ("drawer-open", "button-press-topdown", "window-open", "door-open")
_BUFFER = 10_000
_HELD_IN_MEMORY = 4 * 2**30
_OF_MEMORY = 0.6  # the fraction of memory that the copies may take
# This library's frames and a peer's, which are no larger: compressed, but each image twice.
_COPIES = 2
_ENCODING_SECONDS = 480.0


def measure(frames: int = 100_000) -> Iterator[Row]:
    """Measure at most `frames` frames of Meta-World at 64 and 224 px, as images and as video.

    There are fewer frames if disk or memory would not hold both sides' copies, since then the disk
    would be measured, or if encoding would take more than eight minutes. Nothing is measured if the
    peers are not installed.
    """
    if not _PYTHON.exists():
        print(
            f"windows-peers: {_PYTHON} is missing; scripts/peers/install.sh makes it",
            file=sys.stderr,
        )
        return
    for size in (64, 224):
        with tempfile.TemporaryDirectory() as name:
            few = _few(Path(name), size)
            for images in ("png", "video"):
                with tempfile.TemporaryDirectory() as folder, _cache_in(Path(folder) / "cache"):
                    count = min(frames, _fitting(size))
                    if images == "video":
                        count = min(count, _encodable(few))
                    source = _repeated(few, Path(folder) / "set", images, count)
                    if images == "png":
                        yield from _against_images(source)
                    else:
                        yield from _against_video(source)


def _fitting(size: int) -> int:
    """Return the number of frames that disk and memory hold copies of."""
    image = size * size * 3
    in_memory = _OF_MEMORY * available_bytes() / (_COPIES * image)
    return int(
        min(in_memory, shutil.disk_usage(tempfile.gettempdir()).free / ((1 + _COPIES) * image))
    )


def _encodable(few: EpisodeDataset) -> int:
    """Return the number of frames that can be encoded as video in time, by a first episode."""
    (camera,) = few.spec.cameras
    frames = few.frames(0, camera)
    return int(
        _ENCODING_SECONDS * rate(lambda: encode_video(frames, few.fps), calls=1, units=len(frames))
    )


def _against_images(source: EpisodeDataset) -> Iterator[Row]:
    """Measure windows from the frame cache."""
    windows = Windows(source, FrameCache.open(source), _CONFIG, seed=0)
    (size, _), *_ = source.spec.cameras.values()
    what = f"windows of six {size} px images from the frame cache of {source.num_frames} frames"
    peers: dict[Format, list[str]] = {
        "lerobot": ["lerobot"],
        "robomimic": ["robomimic", "hdf5"],
        "minari": ["minari"],
    }
    if windows.num_windows * _CONFIG.steps * size * size * 3 < _HELD_IN_MEMORY:
        peers["robomimic"].append("robomimic-in-memory")
    for format, readers in peers.items():
        with _converted(source, format) as path:
            for peer in readers:
                yield _against(peer, path, windows, f"windows-{size}-{peer}", what)
    image = size * size * 3
    into = np.empty((_BATCH * _CONFIG.steps, image), np.uint8)
    rows = np.random.default_rng(0).integers(0, 255, (20_000 * 64 * 64 // size**2, image), np.uint8)
    order = np.random.default_rng(0).integers(0, len(rows), (256, len(into)))
    turns = itertools.cycle(order)
    value, limit = in_turns(
        _drawing(windows.batch),
        lambda: rate(
            lambda: np.take(rows, next(turns), axis=0, out=into, mode="clip"),
            calls=400,
            units=_BATCH,
        ),
        rounds=_ROUNDS,
    )
    yield Row(
        f"windows-{size}-limit",
        value,
        limit,
        "windows/s",
        f"{what}, against copying images in memory alone",
    )


def _against(peer: str, path: Path, windows: Windows, name: str, what: str) -> Row:
    with Peer(_PYTHON, _SERVE, peer, str(path)) as loader:
        value, baseline = in_turns(
            _drawing(windows.batch), lambda: loader.ask(str(_SECONDS)), rounds=_ROUNDS
        )
    # Windows that were made beforehand are copied as fast as memory allows.
    min_ratio = 0 if peer == "robomimic-in-memory" else 10
    return Row(name, value, baseline, "windows/s", f"{what}, against {peer}", min_ratio=min_ratio)


def _against_video(source: EpisodeDataset) -> Iterator[Row]:
    (size, _), *_ = source.spec.cameras.values()
    cached = Windows(source, FrameCache.open(source), _CONFIG, seed=0)
    what = f"windows of six {size} px frames of a video dataset of {source.num_frames}"
    with Peer(_PYTHON, _SERVE, "lerobot", str(source.path)) as loader:
        sides = _drawing(cached.batch), lambda: _streamed(source), lambda: loader.ask(str(_SECONDS))
        from_cache, from_video, baseline = in_turns(*sides, rounds=_ROUNDS)
    note = f"{what}, from the frame cache, against lerobot"
    yield Row(f"windows-{size}-video-cache", from_cache, baseline, "windows/s", note, min_ratio=10)
    note = f"{what}, decoded while drawing from a buffer, against lerobot"
    yield Row(f"windows-{size}-video", from_video, baseline, "windows/s", note, min_ratio=2)
    note = (
        f"{what}, decoded while drawing from a buffer, against reading the video from end to end "
        "in two threads"
    )
    yield Row(
        f"windows-{size}-video-limit", from_video, _frames_per_second(source), "windows/s", note
    )


def _drawing(batch: Callable[[int, int], Batch]) -> Callable[[], float]:
    """Return a function that draws for a few seconds and returns windows per second."""
    numbers = itertools.count()

    def side() -> float:
        start, drawn = time.perf_counter(), 0
        while time.perf_counter() - start < _SECONDS:
            batch(next(numbers), _BATCH)
            drawn += _BATCH
        return drawn / (time.perf_counter() - start)

    return side


def _streamed(source: EpisodeDataset) -> float:
    """Return windows per second over two buffers, with the time to decode the first."""
    start, buffer = time.perf_counter(), min(_BUFFER, source.num_frames // 3)
    windows = StreamedWindows(source.location, _CONFIG, seed=0, buffer_frames=buffer)
    try:
        for number in range(2 * buffer // _BATCH):
            windows.batch(number, _BATCH)
        return 2 * buffer / (time.perf_counter() - start)
    finally:
        windows.close()


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("MANYPARTS_CACHE")
    os.environ["MANYPARTS_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("MANYPARTS_CACHE")
        if before is not None:
            os.environ["MANYPARTS_CACHE"] = before


@contextlib.contextmanager
def _converted(source: EpisodeDataset, format: Format) -> Iterator[Path]:
    """Yield the dataset in another format, which exists while the block runs."""
    if format == "lerobot":
        yield source.path
        return
    target = source.path.with_name("set.hdf5" if format == "robomimic" else format)
    convert(source.path, target, format=format)
    try:
        yield target
    finally:
        shutil.rmtree(target) if target.is_dir() else target.unlink()


def _few(folder: Path, size: int) -> EpisodeDataset:
    """Collect some episodes of Meta-World."""
    tasks = [f"metaworld/{task}" for task in _TASKS]
    return collect(tasks, episodes=4, output=folder / "few", config=EnvConfig(image_size=size))


def _repeated(few: EpisodeDataset, path: Path, images: Images, frames: int) -> EpisodeDataset:
    """Write the few episodes again and again until there are so many frames."""
    episodes, written = [few.episode(index) for index in range(few.num_episodes)], 0
    writer = DatasetWriter(
        path,
        few.spec,
        fps=few.fps,
        tasks=few.tasks,
        environment=few.environment,
        images=images,
    )
    with writer, progress_bar("writing", frames) as bar:
        for episode in itertools.cycle(episodes):
            if written >= frames:
                break
            writer.add(episode)
            written += len(episode)
            bar.show(min(written, frames), images)
    return EpisodeDataset.open(path)


def _frames_per_second(source: EpisodeDataset, max_frames: int = 5_000) -> float:
    """Return how fast the first video of a dataset is decoded to RGB, in order, by two threads."""
    video = next((source.path / "videos").rglob("*.mp4"))
    start, count = time.perf_counter(), 0
    with av.open(str(video)) as container:
        container.streams.video[0].thread_count = 2
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")
            count += 1
            if count == max_frames:
                break
    return count / (time.perf_counter() - start)
