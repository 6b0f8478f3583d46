"""Progress of long work on stderr: a live bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from manyparts.core.printing import printable, say

SECONDS_BEFORE_LINES = 5.0  # work that is done sooner prints no line
SECONDS_BETWEEN_LINES = 30.0


class Bar:
    """What the work reports its progress to.

    Attributes:
        summary: A line to print when the work ends well; empty for none.
    """

    def __init__(self, draw: Callable[[int, str], None]) -> None:
        self._draw = draw
        self.summary = ""

    def show(self, completed: int, note: str) -> None:
        """Show the progress.

        Args:
            completed: How many units are completed so far.
            note: A short text after it, such as a rate; empty for none.
        """
        self._draw(completed, note)


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Bar]:
    """Show progress while the block runs, and its summary when the block ends well.

    A terminal shows a live bar. A file or a pipe (nohup, CI, a scheduler's log) gets a plain line
    after five seconds and then one every half minute, without control characters.

    Args:
        description: What the work is, in a few words.
        total: Number of units, such as steps or episodes.
    """
    with _live_bar(description, total) if shows_a_bar() else _lines(description, total) as draw:
        bar = Bar(draw)
        yield bar
    if bar.summary:
        say(bar.summary, error=True)


def shows_a_bar() -> bool:
    """Return whether stderr is a terminal that can move its cursor.

    Variables that ask for colours do not count.
    """
    try:
        return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    except (AttributeError, ValueError):  # there is no stderr, or it is closed
        return False


@contextlib.contextmanager
def _live_bar(description: str, total: int) -> Iterator[Callable[[int, str], None]]:
    described = TextColumn("{task.description}", markup=False)
    columns = [described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with _NotedProgress(*columns, console=Console(stderr=True)) as shown:
        row = shown.add_task(printable(description), total=total, note="")
        yield lambda completed, note: shown.update(row, completed=completed, note=printable(note))


class _NotedProgress(Progress):
    """Bars with their notes below, which may take several lines on a narrow terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}")


@contextlib.contextmanager
def _lines(description: str, total: int) -> Iterator[Callable[[int, str], None]]:
    due = time.monotonic() + SECONDS_BEFORE_LINES

    def draw(completed: int, note: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + SECONDS_BETWEEN_LINES
            say(f"{description}: {completed} of {total}{note and f', {note}'}", error=True)

    yield draw
