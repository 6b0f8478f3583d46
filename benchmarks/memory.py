"""Peak memory of training, on 10 thousand and on 100 thousand frames."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row
from benchmarks.recorded import recorded
from manyparts.data.dataset import DatasetWriter, EpisodeDataset

_FRAMES = (10_000, 100_000)
_STEPS = 100
_TRAIN = """
import sys
from dataclasses import replace
from manyparts import preset, train
from benchmarks.memory import peak_megabytes
config = replace(preset("dualmind/phase1-laptop"), steps=int(sys.argv[3]), processes=1)
train(config, data=sys.argv[1], output=sys.argv[2])
print(peak_megabytes())
"""


def measure() -> Iterator[Row]:
    """Measure phase I of the laptop."""
    with tempfile.TemporaryDirectory() as name, recorded() as (source, _):
        small, large = (_peak(source, Path(name), frames) for frames in _FRAMES)
    note = (
        "peak resident memory of training phase I from 10k frames, against from 100k; decoding "
        "included"
    )
    yield Row("memory", small, large, "MB", note, min_ratio=0.9)


def peak_megabytes() -> float:
    """Return the peak resident memory of this process, in MB.

    Linux's VmHWM is of the process alone; `ru_maxrss`, used elsewhere, starts with its parent's.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return float(peak) / 2**10


def available_bytes() -> int:
    """Return the memory that is available without swapping; half of all if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    (available,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(available) * 2**10


def _peak(source: EpisodeDataset, folder: Path, frames: int) -> float:
    """Return the peak memory in MB of training on `frames` frames: the source's, repeated."""
    path = folder / f"data-{frames}"
    with DatasetWriter(
        path, source.spec, fps=source.fps, tasks=source.tasks, environment=source.environment
    ) as writer:
        written = 0
        while written < frames:
            for index in range(source.num_episodes):
                episode = source.episode(index)
                writer.add(episode)
                written += len(episode)
    output = folder / f"run-{frames}"
    arguments = [sys.executable, "-c", _TRAIN, str(path), str(output), str(_STEPS)]
    environment = {"MANYPARTS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        arguments, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    return float(done.stdout.split()[-1])
