"""The name of this project, and the one it had until November 2026, which stands in files that were written before.

What is written carries the name of today. What is read may carry either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "manyparts"
FORMER_NAME = "understudy"
NAMES = (NAME, FORMER_NAME)


def own_entry(values: Mapping[str, Any]) -> Any:
    """What this project wrote into a file that other programs write, too: the entry under its name of today or its
    former one. None if there is none."""
    return next((values[name] for name in NAMES if name in values), None)
