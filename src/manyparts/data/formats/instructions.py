"""Which instruction an HDF5 group gives, in its attributes, in JSON inside them, or as a text of
its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manyparts.data.formats.hdf5 import Array, Group, Hdf5File
from manyparts.data.formats.kinds import NUMBERS
from manyparts.data.formats.texts import decode_texts, distinct_texts, instruction_names

_JSON = (
    "ep_meta",
    "problem_info",
    "env_args",
)  # robocasa's of a demonstration; LIBERO's and robomimic's of a file
_JSON_FIRST, _JSON_LAST = "lang", "env_lang"
_DEEPEST = 4


@dataclass(frozen=True)
class StoredInstruction:
    """What an HDF5 group asks for. text: its instruction, empty if there is none. several: whether
    it changes from step to step. array: the name of the array that holds it, empty if it is no
    array."""

    text: str = ""
    several: bool = False
    array: str = ""


def instruction_of(file: Hdf5File, group: Group, steps: int = 0) -> StoredInstruction:
    """The instruction of a demonstration with so many steps, or of all of a file's."""
    attributes, members = file.attributes(group), file.names(group)
    for name in _JSON[:2]:
        if name in attributes and (text := _in_json(file.attribute(group, name))):
            return StoredInstruction(text)
    for name in instruction_names(dict.fromkeys([*attributes, *members])):
        if name in attributes and (text := _instruction(file.attribute(group, name))):
            return StoredInstruction(text)
        if name in members and (said := _said(file, group, name, steps)):
            return StoredInstruction(said[0], len(said) > 1, name)
    return StoredInstruction(_in_json(file.attribute(group, _JSON[2])) if _JSON[2] in attributes else "")


def json_object(text: Any) -> Mapping[str, Any]:
    """The object that a text holds as JSON; an empty one if it is something else."""
    values = _parsed(text)
    return values if isinstance(values, Mapping) else {}


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _in_json(text: Any) -> str:
    values = json_object(text)
    names = instruction_names(name for name in values if name != _JSON_FIRST)
    return _first(values.get(name) for name in (_JSON_FIRST, *names, _JSON_LAST))


def _first(values: Iterable[Any]) -> str:
    """The first that says something."""
    return next((text for value in values if (text := _instruction(value))), "")


def _instruction(value: Any, depth: int = 0) -> str:
    """LIBERO has some instructions in quotes, and some as a list; RoboTwin has lists of them in
    JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        inner = _parsed(value)
        value = inner if isinstance(inner, list | Mapping) else value
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        if value and all(isinstance(part, str) and len(part) == 1 for part in value):
            value = "".join(value)
        else:
            inside = (_instruction(part, depth + 1) for part in value) if depth < _DEEPEST else ()
            value = next((text for text in inside if text), "")
    return value.strip().strip('"').strip() if isinstance(value, str) else ""


def _said(file: Hdf5File, group: Group, name: str, steps: int) -> list[str]:
    """The different texts of an array of texts or of character codes: of one a step all, else the
    first."""
    array = file.find(name, group)
    if not isinstance(array, Array) or array.elsewhere:
        return []
    rows = array.shape[0] if array.shape else 1
    if array.dtype.kind in NUMBERS:
        of_codes = array.dtype.kind in "iu" and (
            len(array.shape) == 2 or (len(array.shape) == 1 and rows != steps)
        )
        said = distinct_texts([decode_texts(file.read(array)) or []]) if of_codes else []
    else:
        said = distinct_texts([file.texts(array)])
    said = distinct_texts([[_instruction(text) for text in said]])
    return said if rows == steps else said[:1]
