"""What every benchmark measures and how: both sides in one run, medians of turns, one row a
claim."""

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
    """One claim measured. value, baseline: in `unit`; more is better, but not where `max_ratio` is
    promised. note: what the two sides are.

    min_ratio, max_ratio, min_value: what is promised of value / baseline, and of the value; 0 for
    no promise.
    """

    name: str
    value: float
    baseline: float
    unit: str
    note: str
    min_ratio: float = 0.0
    min_value: float = 0.0
    max_ratio: float = 0.0

    @property
    def ratio(self) -> float:
        return self.value / self.baseline

    @property
    def holds(self) -> bool:
        cheap = not self.max_ratio or self.ratio <= self.max_ratio
        return cheap and self.ratio >= self.min_ratio and self.value >= self.min_value

    def to_dict(self) -> dict[str, object]:
        return asdict(self) | {
            "ratio": self.ratio,
            "holds": self.holds,
            "machine": machine(),
            "commit": code_commit(),
        }


def in_turns(*sides: Callable[[], float], rounds: int) -> list[float]:
    """The median of each side's figure over `rounds`; the sides take turns, so that a busy moment
    meets them all."""
    figures: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, found in zip(sides, figures, strict=True):
            found.append(side())
    return [statistics.median(found) for found in figures]


def rate(work: Callable[[], object], *, calls: int, units: int = 1) -> float:
    """Units a second of `calls` calls of `work`, each of which does `units`."""
    began = time.perf_counter()
    for _ in range(calls):
        work()
    return calls * units / (time.perf_counter() - began)


def seconds(work: Callable[[], object], *, calls: int = 1) -> float:
    """Seconds a call of `work` takes, in the mean of `calls`."""
    return 1 / rate(work, calls=calls)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Run the block on one core, where the system lets us choose."""
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
    """Add a row to a JSONL file. Raises UserError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row.to_dict()) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def machine() -> dict[str, object]:
    """What the figures were measured on."""
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
