"""Which format a dataset has."""

from __future__ import annotations

from pathlib import Path

from understudy.data.formats.lerobot.reader import LeRobotReader
from understudy.data.formats.reader import Reader


def open_reader(path: Path) -> Reader:
    """The reader of the dataset at a path. Raises UserError if there is none that can be read."""
    return LeRobotReader(path)
