"""Where tables go: as wide as the terminal, or wide enough for a file."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """A console on stdout; 120 columns where that is not a terminal."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=120)
