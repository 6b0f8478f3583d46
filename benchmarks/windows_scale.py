"""Windows from ten thousand to a million frames: how fast they are drawn, and memory."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import CLONE, Row, rate
from benchmarks.memory import peak_megabytes
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache, decode_into
from manyparts.data.sampling.subset import SubsetReader
from manyparts.data.sampling.windows import Windows
from manyparts.envs.base import EnvConfig
from manyparts.rollout.collect import collect

_FRAMES = (10_000, 100_000, 1_000_000)
_ROUNDS, _CALLS, _BATCH = 5, 100, 64
_GROWTH = 200.0  # MB that memory may grow by


def measure(frames: tuple[int, ...] = _FRAMES) -> Iterator[Row]:
    """Measure each size in processes of its own; the largest has 12 GB of frames.

    The first process of a size does not count: it reads files that are not in memory yet.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collect(
            ["pointmass/colours"],
            episodes=20,
            output=folder / "few",
            config=EnvConfig(image_size=64),
        )
        for count in frames:
            decode_into(_repeated(folder, count), folder / str(count))
        rates, memory = {}, {}
        for count in frames:
            figures = [_drawn(folder, count) for _ in range(1 + _ROUNDS)][1:]
            rates[count] = statistics.median(speed for speed, _ in figures)
            memory[count] = statistics.median(megabytes for _, megabytes in figures)
    few = frames[0]
    for count in frames[1:]:
        what = f"of six 64 px frames, drawn from {count} frames, against from {few}"
        yield Row(
            f"windows-{count}",
            rates[count],
            rates[few],
            "windows/s",
            f"windows {what}",
            min_ratio=0.8,
        )
        note = f"peak resident memory with windows {what}, plus {_GROWTH:.0f} MB"
        yield Row(
            f"windows-memory-{count}", memory[count], memory[few] + _GROWTH, "MB", note, max_ratio=1
        )


def _repeated(folder: Path, count: int) -> EpisodeDataset:
    """Return a dataset that repeats the few episodes, without writing them again."""
    few = EpisodeDataset.open(folder / "few")
    times = -(-count // few.num_frames)
    return EpisodeDataset(SubsetReader(few.reader, np.tile(np.arange(few.num_episodes), times)))


def _drawn(folder: Path, count: int) -> tuple[float, float]:
    """Return windows per second, and peak memory in megabytes."""
    command = [sys.executable, "-m", "benchmarks.windows_scale", str(folder), str(count)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=CLONE
    )
    speed, megabytes = map(float, done.stdout.split())
    return speed, megabytes


def _draw(folder: Path, count: int) -> None:
    dataset, numbers = _repeated(folder, count), itertools.count()
    windows = Windows(
        dataset, FrameCache(folder / str(count), dataset), WindowConfig(steps=6, chunk=1), seed=0
    )
    few = [
        rate(lambda: windows.batch(next(numbers), _BATCH), calls=_CALLS, units=_BATCH)
        for _ in range(_ROUNDS)
    ]
    print(statistics.median(few), peak_megabytes())


if __name__ == "__main__":
    _draw(Path(sys.argv[1]), int(sys.argv[2]))
