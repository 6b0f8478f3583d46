"""How every benchmark measures: both sides in one run, medians over turns, one row per claim."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import manyparts
from manyparts.core.errors import UserError
from manyparts.core.host.cores import cores
from manyparts.core.provenance import code_commit

CLONE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One claim measured. More is better, unless `max_ratio` is set."""

    name: str
    """The claim's name."""
    value: float
    """This library's figure, in `unit`."""
    baseline: float
    """The other side's figure, in `unit`."""
    unit: str
    note: str
    """What the two sides are."""
    min_ratio: float = 0.0
    """The smallest promised value / baseline; 0 for no promise."""
    min_value: float = 0.0
    """The smallest promised value; 0 for no promise."""
    max_ratio: float = 0.0
    """The largest promised value / baseline; 0 for no promise."""

    @property
    def ratio(self) -> float:
        return self.value / self.baseline

    @property
    def holds(self) -> bool:
        """Return whether all promises are kept."""
        cheap = not self.max_ratio or self.ratio <= self.max_ratio
        return cheap and self.ratio >= self.min_ratio and self.value >= self.min_value

    def to_dict(self) -> dict[str, object]:
        """Return JSON values, with the machine and the commit."""
        return asdict(self) | {
            "ratio": self.ratio,
            "holds": self.holds,
            "machine": machine(),
            "commit": code_commit(),
        }


def in_turns(*sides: Callable[[], float], rounds: int) -> list[float]:
    """Return the median of each side's figure over `rounds`.

    The sides take turns, so that a busy moment of the machine slows all of them.
    """
    figures: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, values in zip(sides, figures, strict=True):
            values.append(side())
    return [statistics.median(values) for values in figures]


def rate(work: Callable[[], object], *, calls: int, units: int = 1) -> float:
    """Return units per second over `calls` calls of `work`, each of which does `units`."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return calls * units / (time.perf_counter() - start)


def seconds(work: Callable[[], object], *, calls: int = 1) -> float:
    """Return seconds per call of `work`, as the mean over `calls`."""
    return 1 / rate(work, calls=calls)


def processor_rate(work: Callable[[], object], *, calls: int, units: int = 1) -> float:
    """Return units per second of processor time, which other processes disturb less; see `rate`.

    All threads of this process count.
    """
    start = time.process_time()
    for _ in range(calls):
        work()
    return calls * units / (time.process_time() - start)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Run the block on one core, if the system has a way to choose it."""
    if not (hasattr(os, "sched_setaffinity") and hasattr(os, "sched_getaffinity")):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def append(path: Path, row: Row) -> None:
    """Add a row to a JSONL file.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row.to_dict()) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def machine() -> dict[str, object]:
    """Describe the machine."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "manyparts": manyparts.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
