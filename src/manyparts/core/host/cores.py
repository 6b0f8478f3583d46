"""How many cores this process may use, within the CPU quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def cores() -> int:
    """Return how many cores this process may use, at least one.

    Those that it may run on, but no more than its quota, rounded up.
    """
    quota = cpu_quota()
    return allowed_cores() if quota is None else max(1, min(allowed_cores(), math.ceil(quota)))


def allowed_cores() -> int:
    """Return how many cores the system lets this process run on; on macOS all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path | None = None) -> float | None:
    """Return the CPU quota of the container, in cores; None without a quota.

    Args:
        root: The folder that holds `proc` and `sys`; None for the machine's.
    """
    return min(_quotas(ROOT if root is None else root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of this process's control groups and of those above them, in cores.

    A line of /proc/self/cgroup is "number:controllers:path". Version 2 names no controllers and has
    a file `cpu.max` with both numbers; version 1 has one file for each.
    """
    groups = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            for folder in _and_above(path):
                yield from _quota(*_text(groups / folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for name in dict.fromkeys((controllers, "cpu")):
                for folder in _and_above(path):
                    group = groups / name / folder
                    quota = _text(group / "cpu.cfs_quota_us").strip()
                    yield from _quota(quota, _text(group / "cpu.cfs_period_us").strip())


def _and_above(path: str) -> Iterator[str]:
    """Yield a group's path relative to its hierarchy, then those of the groups above, to the top.

    Inside a container the path may be the host's, which does not exist there: then the top holds
    the container's quota.
    """
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for count in range(len(parts), -1, -1):
        yield "/".join(parts[:count])


def _quota(quota: str = "", period: str = "") -> Iterator[float]:
    """Yield the quota in cores, from microseconds per period; nothing if there is no bound ("max",
    -1) or no file."""
    if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
        yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
