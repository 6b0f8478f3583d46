"""What every benchmark measures and how: both sides interleaved in one run, medians, one row each."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import understudy
from understudy.evaluation.provenance import code_commit
from understudy.types import UserError


@dataclass(frozen=True)
class Row:
    """One claim measured. value, baseline: both in `unit`, more is better. target: the least ratio that is promised.

    note: what the two sides are, for people.
    """

    name: str
    value: float
    baseline: float
    unit: str
    target: float
    note: str

    @property
    def ratio(self) -> float:
        return self.value / self.baseline

    def to_dict(self) -> dict[str, object]:
        return asdict(self) | {"ratio": self.ratio, "machine": machine(), "commit": code_commit()}


def interleaved(*sides: Callable[[], float], rounds: int) -> list[float]:
    """The median of each side's figure over `rounds`; the sides take turns, so that a busy moment meets them all."""
    figures: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, found in zip(sides, figures, strict=True):
            found.append(side())
    return [statistics.median(found) for found in figures]


def per_second(work: Callable[[], object], *, count: int, units: int = 1) -> float:
    """Units a second of `count` calls of `work`, each doing `units`."""
    began = time.perf_counter()
    for _ in range(count):
        work()
    return count * units / (time.perf_counter() - began)


def append(path: Path, row: Row) -> None:
    """Add a row to a JSONL file in one write. Raises UserError if the file cannot be written."""
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
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "understudy": understudy.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
