"""Progress of long work on stderr: a live bar on a terminal, and one summary line anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from manyparts.printing import printable, say


class Bar:
    """What the work reports to: how far it is, with a note such as a rate, and what to say at the end."""

    def __init__(self, progress: Progress, total: int, description: str) -> None:
        self._progress = progress
        self._row = progress.add_task(printable(description), total=total, note="")
        self.summary = ""

    def show(self, completed: int, note: str) -> None:
        self._progress.update(self._row, completed=completed, note=printable(note))


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Bar]:
    """Draw a bar while the block runs; when it ends well, print `summary` if the block has set one."""
    console = Console(stderr=True)
    described, noted = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
    columns = [described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), noted]
    shown = Progress(*columns, console=console, disable=not console.is_terminal)
    with shown:
        bar = Bar(shown, total, description)
        yield bar
    if bar.summary:
        say(bar.summary, error=True)
