"""Read the statistics that the meta folder of a LeRobotDataset has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.data.formats.errors import read_json
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.values import read_json_lines
from manyparts.embodiment.statistics import Statistics, pooled

_OLD_STATISTICS = "meta/episodes_stats.jsonl"
_MAX_SHOWN = 5


def stored_statistics(path: Path) -> tuple[Statistics, str | None]:
    """The statistics of all episodes; and why they cannot be used, if so."""
    try:
        return _readable(read_json(path / layout.STATS)), None
    except UserError:
        why = "torn" if (path / layout.STATS).is_file() else "missing"
        return Statistics({}), f"{layout.STATS} is {why}"


def old_statistics(path: Path, numbers: set[int]) -> tuple[Statistics, str | None]:
    """The statistics of all episodes; and why they are not, if so.

    Version 2.0 stores them; version 2.1 stores those of each episode, which are pooled.
    """
    if not (path / _OLD_STATISTICS).is_file():
        return stored_statistics(path)
    rows = [
        row
        for row in read_json_lines(path / _OLD_STATISTICS)
        if row.get("episode_index", -1) in numbers
    ]
    absent = numbers - {int(row["episode_index"]) for row in rows}
    if not rows:
        return Statistics({}), f"{_OLD_STATISTICS} holds nothing of the episodes"
    shown = first_of(sorted(absent), _MAX_SHOWN)
    stale = f"{_OLD_STATISTICS} lacks episode {shown}" if absent else None
    return pooled([_readable(row.get("stats") or {}) for row in rows]), stale


def _readable(values: Mapping[str, Any]) -> Statistics:
    """The statistics that can be parsed; others are treated as missing."""
    readable = {}
    for name, item in values.items():
        try:
            readable |= Statistics.from_dict({name: item}).features
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            continue
    return Statistics(readable)
