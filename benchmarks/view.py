"""A view: training steps on 480x640 images seen at 64 px, against those on images of 64 px."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, in_turns, rate
from benchmarks.recorded import Steps
from manyparts.core.records import Episode
from manyparts.core.spec import ActionContract, Spec, TaskEntry
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.methods import preset

_EPISODES, _STEPS = 4, 60
_TASK = TaskEntry("arm/lift", "lift the cup")


def measure() -> Iterator[Row]:
    """Measure training steps of the laptop's phase I, after the first decoding."""
    config = preset("dualmind/phase1-laptop")
    with tempfile.TemporaryDirectory() as folder:
        large = _written(Path(folder) / "large", (480, 640)).through({"size": [64, 64]})
        small = _written(Path(folder) / "small", (64, 64))
        sides = []
        for dataset in (large, small):
            cache = FrameCache.open(dataset, Path(folder) / "cache")
            step = Steps(config, dataset, Windows(dataset, cache, config.window, seed=0))
            step()
            sides.append(step)
        first, second = sides
        value, baseline = in_turns(
            lambda: rate(first, calls=4, units=config.batch_size),
            lambda: rate(second, calls=4, units=config.batch_size),
            rounds=5,
        )
    note = "480x640 through a view of 64x64, against 64x64; dualmind/phase1-laptop, once decoded"
    yield Row("view", value, baseline, "windows/s", note, min_ratio=0.9)


def _written(path: Path, size: tuple[int, int]) -> EpisodeDataset:
    """A small dataset with images of this size."""
    names = ("x", "y", "z", "grip")
    action = ActionContract("velocity", "base", names, (-1.0,) * 4, (1.0,) * 4, 20.0)
    spec = Spec("arm", {"front": size}, names, action)
    rng = np.random.default_rng(0)
    with DatasetWriter(path, spec, fps=20.0, tasks=(_TASK,), environment={}) as writer:
        for number in range(_EPISODES):
            writer.add(replace(_episode(rng, size), seed=number))
    return EpisodeDataset.open(path)


def _episode(rng: np.random.Generator, size: tuple[int, int]) -> Episode:
    numbers = rng.uniform(-1, 1, (_STEPS, 4)).astype(np.float32)
    shades = rng.integers(0, 256, (_STEPS, 1, 1, 3), dtype=np.uint8)
    return Episode(
        task=_TASK.name,
        instruction=_TASK.instruction,
        seed=0,
        images={"front": np.broadcast_to(shades, (_STEPS, *size, 3)).copy()},
        state=numbers,
        action=numbers,
        expert_action=numbers,
        reward=np.zeros(_STEPS, np.float32),
        success=np.zeros(_STEPS, bool),
    )
