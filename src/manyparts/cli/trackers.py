"""The flag --track with the names of plug-ins."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from manyparts.training.trackers import tracker_names


def track_field() -> tuple[str, Any, Any]:
    """The field `track` of options, for `dataclasses.make_dataclass`, with every name that there
    is."""
    choices: Any = Literal[tuple(tracker_names())]
    return "track", choices | None, dataclasses.field(default=None)
