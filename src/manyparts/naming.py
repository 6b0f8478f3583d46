"""Names of today, and those they had until November 2026, which stand in files that were written before.

What is written carries the name of today. What is read may carry either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

NAME = "manyparts"
FORMER_NAME = "understudy"
NAMES = (NAME, FORMER_NAME)
FORMER_COLUMNS = {"action.expert": "expert_action"}

T = TypeVar("T")


def own_entry(values: Mapping[str, Any]) -> Any:
    """What this project wrote into a file that other programs write, too: the entry under its name of today or its
    former one. None if there is none."""
    return next((values[name] for name in NAMES if name in values), None)


def columns_of_today(columns: Mapping[str, T]) -> dict[str, T]:
    """The same values in the same order, each column under its name of today.

    A dataset that has a column of the new name already keeps the old one as it is.
    """
    current = {name: FORMER_COLUMNS.get(name, name) for name in columns}
    return {name if current[name] in columns else current[name]: value for name, value in columns.items()}
