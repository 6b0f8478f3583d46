"""Records, as they stand in files, to the command-line flags that make them again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from manyparts.core.naming import fields_of_today


def fields_in(kind: type[Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that a file recorded, under whichever of their names.

    Args:
        kind: the dataclass.
        recorded: field to value, as the file holds them.

    Returns:
        Field, by its name of today, to value. Fields that the file lacks have the class's own
        default.
    """
    current = fields_of_today(kind.__name__, recorded)
    return {item.name: current.get(item.name, _default(item)) for item in dataclasses.fields(kind)}


def flags_of(
    values: Mapping[str, Any], *, prefix: str = "", usual: Mapping[str, Any] | None = None
) -> list[str]:
    """Command-line words for values by their fields' names.

    Args:
        values: plain values. None, an empty list and False need no flag.
        prefix: what stands before each field's name, such as "planner.".
        usual: values that need no flag, by name; None: there are none.

    Returns:
        Words such as ["--image-size", "64", "--keep-failures"]. A bool that is False although it
        usually is True becomes "--no-NAME".
    """
    words: list[str] = []
    usual = usual or {}
    for name, value in values.items():
        flag = name.replace("_", "-")
        if name in usual and value == usual[name]:
            continue
        if isinstance(value, bool):
            if value or usual.get(name):
                words.append(f"--{prefix}{flag}" if value else f"--{prefix}no-{flag}")
        elif isinstance(value, list | tuple):
            words += [f"--{prefix}{flag}", *map(str, value)] if value else []
        elif value is not None:
            words += [f"--{prefix}{flag}", str(value)]
    return words


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return None if item.default is dataclasses.MISSING else item.default
