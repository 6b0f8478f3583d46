"""Give the metrics of a run to a tracker after it was trained, which needs neither torch nor the
tracker while training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError, closest
from manyparts.core.extras import in_a_line
from manyparts.core.printing import printable
from manyparts.core.progress import progress_bar
from manyparts.training import tracker_programs
from manyparts.training.trackers import PLUGINS, begin, require_installed

_MAX_SHOWN = 80  # characters of a line
_MAX_BYTES = 2**30  # of metrics.jsonl


@dataclass(frozen=True)
class Replayed:
    """What a tracker was given."""

    rows: int
    """How many rows."""
    last_step: int
    """The step of the last one."""
    steps: int | None
    """How many steps the run was to have; None where its config does not say."""
    left_out: tuple[str, ...]
    """Metrics of which a value is no number."""


def replay_names() -> list[str]:
    """The trackers that `replay` knows. Those of plug-ins, which come last, may not load."""
    return [*tracker_programs.PROGRAMS, *PLUGINS.names()]


def replay(run: Path, tracker: str) -> Replayed:
    """Give the rows of RUN/metrics.jsonl to a tracker, in their order.

    A second replay makes a further run in the tracker.

    Args:
        run: the run's folder.
        tracker: one of `replay_names`.

    Raises:
        UserError: the folder is no run or its metrics are torn, the tracker is unknown, is not
            installed or fails, or it is TensorBoard and has these curves already.
    """
    if tracker not in replay_names():
        raise UserError(f"unknown tracker {tracker!r}; {closest(tracker, replay_names())}")
    rows = _rows(run)
    steps = _steps_of(run)
    require_installed(tracker)
    if tracker == "tensorboard" and any((run / "tensorboard").glob("events.*")):
        raise UserError(f"{run / 'tensorboard'} has these curves already")
    left_out: dict[str, None] = {}
    try:
        opened = begin(tracker, run, 0)
        try:
            with progress_bar(f"{run.name} to {tracker}", len(rows)) as bar:
                for count, row in enumerate(rows):
                    numbers = {name: value for name, value in row.items() if name != "step"}
                    left_out |= dict.fromkeys(set(numbers) - set(_numbers(numbers)))
                    opened.write(row["step"], _numbers(numbers))
                    bar.show(count + 1, "")
        finally:
            opened.close()
    except BaseException as error:
        if tracker == "tensorboard":  # half of the curves would be in the way of all of them
            for events in (run / "tensorboard").glob("events.*"):
                events.unlink()
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        # Of an installed package, or of a network.
        raise UserError(f"{tracker} failed on {run}: {in_a_line(error)}") from error
    return Replayed(len(rows), int(rows[-1]["step"]), steps, tuple(sorted(left_out)))


def _rows(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics. Half a row at the end, of a run that was killed, is no row."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise UserError(f"{run} has no metrics.jsonl; expected the folder of a run")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has more than {_MAX_BYTES} bytes")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows = list(_parsed(lines[:-1], path))  # after the last newline is nothing, or half a row
    if not rows:
        raise UserError(f"{path} has no rows yet")
    return rows


def _parsed(lines: list[str], path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(step, int) or isinstance(step, bool):
            shown = printable(line[:_MAX_SHOWN])
            raise UserError(f"{path}: line {number} is no row with a step: {shown}")
        yield row


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are numbers; NaN and infinity are."""
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _steps_of(run: Path) -> int | None:
    """How many steps a run was to have."""
    steps = tracker_programs.config_of(run).get("steps")
    return steps if isinstance(steps, int) else None
