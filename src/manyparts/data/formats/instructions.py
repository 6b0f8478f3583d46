"""Find the instruction of an HDF5 group: in attributes, in JSON inside these, or in an array."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Array, Group
from manyparts.data.formats.kinds import NUMBERS
from manyparts.data.formats.texts import decode_texts, distinct_texts, instruction_names

# Attributes with JSON: robocasa's of a demonstration; LIBERO's and robomimic's of a file.
_JSON = ("ep_meta", "problem_info", "env_args")
_JSON_FIRST, _JSON_LAST = "lang", "env_lang"
_MAX_DEPTH = 4


@dataclass(frozen=True)
class StoredInstruction:
    """The instruction of an HDF5 group."""

    text: str = ""
    """The instruction; "" if there is none."""
    changes: bool = False
    """Whether it changes between steps."""
    array: str = ""
    """The name of the array that holds it; "" if it is no array."""


def instruction_of(file: Hdf5File, group: Group, steps: int = 0) -> StoredInstruction:
    """Find the instruction of a group.

    Args:
        file: the opened file.
        group: a demonstration, or the group of all demonstrations of a file.
        steps: the demonstration's number of steps.
    """
    attributes, members = file.attributes(group), file.names(group)
    for name in _JSON[:2]:
        if name in attributes and (text := _from_json(file.attribute(group, name))):
            return StoredInstruction(text)
    for name in instruction_names(dict.fromkeys([*attributes, *members])):
        if name in attributes and (text := _instruction(file.attribute(group, name))):
            return StoredInstruction(text)
        if name in members and (texts := _texts_of_array(file, group, name, steps)):
            return StoredInstruction(texts[0], len(texts) > 1, name)
    if _JSON[2] in attributes:
        return StoredInstruction(_from_json(file.attribute(group, _JSON[2])))
    return StoredInstruction()


def json_object(text: Any) -> Mapping[str, Any]:
    """Parse a text as a JSON object; {} if it is something else."""
    values = _parsed(text)
    return values if isinstance(values, Mapping) else {}


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _from_json(text: Any) -> str:
    """The instruction in a JSON object's text."""
    values = json_object(text)
    names = instruction_names(name for name in values if name != _JSON_FIRST)
    return _first_instruction(values.get(name) for name in (_JSON_FIRST, *names, _JSON_LAST))


def _first_instruction(values: Iterable[Any]) -> str:
    return next((text for value in values if (text := _instruction(value))), "")


def _instruction(value: Any, depth: int = 0) -> str:
    """The instruction in a value of an attribute, which may be a text, a list or JSON; else "".

    LIBERO has some instructions in quotes, and some as a list of letters; RoboTwin has lists of
    instructions in JSON.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        inner = _parsed(value)
        value = inner if isinstance(inner, list | Mapping) else value
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        if value and all(isinstance(part, str) and len(part) == 1 for part in value):
            value = "".join(value)
        else:
            inside = (_instruction(part, depth + 1) for part in value) if depth < _MAX_DEPTH else ()
            value = next((text for text in inside if text), "")
    return value.strip().strip('"').strip() if isinstance(value, str) else ""


def _texts_of_array(file: Hdf5File, group: Group, name: str, steps: int) -> list[str]:
    """The different texts of an array of texts or character codes: all if it has one per step,
    else the first."""
    array = file.find(name, group)
    if not isinstance(array, Array) or array.external:
        return []
    rows = array.shape[0] if array.shape else 1
    if array.dtype.kind in NUMBERS:
        may_be_codes = array.dtype.kind in "iu" and (
            len(array.shape) == 2 or (len(array.shape) == 1 and rows != steps)
        )
        texts = distinct_texts([decode_texts(file.read(array)) or []]) if may_be_codes else []
    else:
        texts = distinct_texts([file.texts(array)])
    texts = distinct_texts([[_instruction(text) for text in texts]])
    return texts if rows == steps else texts[:1]
