"""Divide rows that stand end to end into episodes, by the flags that OGBench's and D4RL's files
have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from manyparts.core.printing import counted


@dataclass(frozen=True)
class Flags:
    """What a file says of its rows; each array is bool (n,), or None where the file has none."""

    rows: int
    """n, the number of rows."""
    terminals: np.ndarray | None = None
    """The last row of an episode; in D4RL's files only where it ended for good."""
    timeouts: np.ndarray | None = None
    """The last row of an episode that was cut off."""
    valids: np.ndarray | None = None
    """Rows with an action; the others hold an episode's last observation, and end it."""
    breaks: np.ndarray | None = None
    """Rows with a next observation that is not the observation of the row after them."""
    every_row_acts: bool = False
    """Whether the last row of an episode has an action that was taken."""


@dataclass(frozen=True)
class Division:
    """The episodes of a file, n of them, in order."""

    first: np.ndarray
    """int64 (n,), the first row of each."""
    steps: np.ndarray
    """int64 (n,), the number of its rows with an action that was taken."""
    ended: np.ndarray
    """bool (n,), whether the file says where it ends; only the last one may lack that."""
    notes: tuple[str, ...]
    """What a user has to know, one line each."""


def divide(flags: Flags) -> Division:
    """Divide the rows of a file into episodes. Those of one row may have no steps."""
    ends, notes = _ends(flags)
    stops = np.flatnonzero(ends) + 1
    ended = np.ones(len(stops), bool)
    if not len(stops) or stops[-1] < flags.rows:
        last = int(stops[-1]) if len(stops) else 0
        notes.append(_note_of_open_end(flags.rows, flags.rows - last))
        stops, ended = np.append(stops, flags.rows), np.append(ended, False)
    first = np.concatenate([[0], stops[:-1]])
    steps = stops - first
    if flags.valids is not None:
        steps = steps - ended  # rows that do not act are ends
    elif not flags.every_row_acts:
        steps = steps - 1
    notes += _notes_of_rows(flags, steps)
    return Division(first.astype(np.int64), steps.astype(np.int64), ended, tuple(notes))


def _ends(flags: Flags) -> tuple[np.ndarray, list[str]]:
    """bool (n,), the last rows of episodes; and notes."""
    if flags.valids is not None:
        return ~flags.valids, []
    ends = np.zeros(flags.rows, bool)
    for each in (flags.terminals, flags.timeouts):
        if each is not None:
            ends |= each
    if not flags.every_row_acts:
        return _second_of_pairs(ends)
    if flags.breaks is None:
        return ends, []
    unmarked = flags.breaks & ~ends
    if not unmarked.any():
        return ends, []
    return ends | unmarked, [
        f"{counted(int(unmarked.sum()), 'episode')} without a mark at the end: next_observations "
        "there is not the observation of the following row"
    ]


def _second_of_pairs(ends: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The second row where ends always come in twos: OGBench's loader marks the last row with an
    action and the one after it."""
    edges = np.diff(np.concatenate([[0], ends.astype(np.int8), [0]]))
    begins, lengths = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths = lengths - begins
    if not len(begins) or not (lengths == 2).all():
        return ends, []
    seconds = np.zeros_like(ends)
    seconds[begins + 1] = True
    return seconds, ["terminals marks the last two rows of each episode, which are one end"]


def _note_of_open_end(rows: int, left: int) -> str:
    if left == rows:
        return f"no row is marked as the end of an episode: all {rows} rows are read as one"
    return (
        f"no end is marked in the last {counted(left, 'row')}: they are read as an episode that "
        "was cut off"
    )


def _notes_of_rows(flags: Flags, steps: np.ndarray) -> Iterator[str]:
    """Notes for users on the number of rows that episodes have."""
    if flags.valids is not None or not flags.every_row_acts:
        yield "the last row of an episode is an observation without an action, and is not read"
    elif short := int((steps == 1).sum()):
        yield f"{counted(short, 'episode')} of a single row, by the marks of ends"
