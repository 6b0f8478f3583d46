"""How many cores this process may use: those that the system gives it, within the CPU quota of its
container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def cores() -> int:
    """Cores this process may use, at least one: those it may run on, but no more than its quota,
    rounded up."""
    quota = cpu_quota()
    return allowed_cores() if quota is None else max(1, min(allowed_cores(), math.ceil(quota)))


def allowed_cores() -> int:
    """Cores the system lets this process run on. macOS sets no such bound: there it is all of
    them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path | None = None) -> float | None:
    """CPU time that the container gets, in cores; None without a quota.

    Args:
        root: the folder that holds `proc` and `sys`; None: the machine's.
    """
    return min(_quotas(ROOT if root is None else root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    """Those of each control group of this process, version 1 or 2, and of the groups above it."""
    groups = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            for folder in _and_above(path):
                yield from _quota(*_text(groups / folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for name in dict.fromkeys((controllers, "cpu")):
                for folder in _and_above(path):
                    files = (
                        groups / name / folder / f"cpu.cfs_{kind}_us"
                        for kind in ("quota", "period")
                    )
                    yield from _quota(*(_text(file).strip() for file in files))


def _and_above(path: str) -> Iterator[str]:
    """A group's path relative to its hierarchy, then those of the groups above, to the top.

    Inside a container the path may be the host's, which is not there: then the top holds the
    container's quota.
    """
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for count in range(len(parts), -1, -1):
        yield "/".join(parts[:count])


def _quota(quota: str = "", period: str = "") -> Iterator[float]:
    """Cores, from microseconds in each period; nothing where there is no bound ("max", -1) or no
    file."""
    if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
        yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
