"""Collection: recorded frames per second on all cores, the start of the simulators included."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row
from manyparts.core.host.cores import cores
from manyparts.envs.base import EnvConfig
from manyparts.rollout.collect import collect

TASKS = ("reach", "button-press-topdown", "drawer-close", "drawer-open", "window-open", "door-open")


def measure() -> Iterator[Row]:
    """Measure six Meta-World tasks."""
    value = _frames_per_second(EnvConfig(image_size=64), episodes=50)
    baseline = _frames_per_second(EnvConfig(image_size=64, faithful_rendering=True), episodes=1)
    note = f"six Meta-World tasks at 64 px, {cores()} workers, against the simulator's own images"
    yield Row("collect", value, baseline, "frames/s", note, min_value=600)


def _frames_per_second(config: EnvConfig, *, episodes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        tasks = [f"metaworld/{task}" for task in TASKS]
        dataset = collect(tasks, episodes=episodes, output=Path(folder) / "data", config=config)
        return dataset.num_frames / (time.perf_counter() - start)
