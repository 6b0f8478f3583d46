"""What a result says of its measures: cells of a table for people, and JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from manyparts.evaluation.record import UNKNOWN
from manyparts.evaluation.statistics import Interval, bounded


def cells_of(
    measures: Mapping[str, Interval], metrics: Sequence[str], *, with_bounds: bool
) -> tuple[str, ...]:
    """A task's cells: success, success at the end, the suite's own measures, return and steps.

    Args:
        measures: the task's; without successes where nobody knows them.
        metrics: names of the own measures of all suites in the table.
        with_bounds: whether return and steps come with their intervals, too.
    """
    last = f"{measures['success_last'].mean:.2f}" if "success_last" in measures else UNKNOWN
    own = (bounded(measures[metric]) if metric in measures else "" for metric in metrics)
    averages = f"{measures['return'].mean:.1f}", f"{measures['length'].mean:.0f}"
    if with_bounds:
        averages = _bounds(measures["return"], 2), _bounds(measures["length"], 1)
    success = bounded(measures["success_any"]) if "success_any" in measures else UNKNOWN
    return success, last, *own, *averages


def plain(measures: Mapping[str, Interval], usual: Sequence[str]) -> dict[str, Any]:
    """Measures as JSON values.

    Args:
        measures: a task's.
        usual: names of the measures that all tasks have. One that this task lacks, since nobody
            knows it, is None.
    """
    named = dict.fromkeys((*usual, *measures))
    return {name: asdict(measures[name]) if name in measures else None for name in named}


def _bounds(estimate: Interval, digits: int) -> str:
    low, high = f"{estimate.low:.{digits}f}", f"{estimate.high:.{digits}f}"
    return f"{estimate.mean:.{digits}f} [{low}, {high}]"
