"""Where tables go: as wide as the terminal, or wide enough for a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from manyparts.evaluation.statistics import Interval


def console() -> Console:
    """A console on stdout; 120 columns where that is not a terminal."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=120)


def bounded(found: Interval) -> str:
    """Mean and bounds, as markup of a console."""
    return f"{found.mean:.2f} \\[{found.low:.2f}, {found.high:.2f}]"
