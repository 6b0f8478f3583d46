"""Names of today, and those they had until November 2026, which stand in files that were written before.

What is written carries the name of today. What is read may carry either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

NAME = "manyparts"
VERSION = "0.1.0"
FORMER_NAME = "understudy"
NAMES = (NAME, FORMER_NAME)
FORMER_COLUMNS = {"action.expert": "expert_action"}

# Records that stand in files. Configurations and stages are read under either name, and content hashes are taken over
# the former ones: the keys of stages that are archived, and the hashes in runs, stay what they were.
FORMER_CLASSES: dict[str, str] = {}  # the class's name of today: its former one
FORMER_FIELDS: dict[
    str, dict[str, str]
] = {}  # the class's name of today: its fields' names of today: their former ones

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


def former_class(name: str) -> str:
    """What a class was called in files before; its name if it had no other."""
    return FORMER_CLASSES.get(name, name)


def former_field(class_name: str, name: str) -> str:
    """What a field of a class, by its name of today, was called in files before; its name if it had no other."""
    return FORMER_FIELDS.get(class_name, {}).get(name, name)


def fields_of_today(class_name: str, values: Mapping[str, T]) -> dict[str, T]:
    """The same values, each under its field's name of today. class_name: of today."""
    current = {former: name for name, former in FORMER_FIELDS.get(class_name, {}).items()}
    return {current.get(name, name): value for name, value in values.items()}
