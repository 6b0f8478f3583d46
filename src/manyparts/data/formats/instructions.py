"""Which instruction an HDF5 group gives, in its attributes, in JSON inside them, or as a text of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from manyparts.data.formats.hdf5 import Array, Group, Hdf5File

KEYS = (
    *("language_instruction", "task_description", "natural_language_instruction", "instruction"),
    *("language", "lang", "sentence"),
)
_JSON = ("ep_meta", "problem_info", "env_args")  # robocasa's of a demonstration; LIBERO's and robomimic's of a file
_JSON_KEYS = ("lang", *KEYS, "env_lang")


def instruction_of(file: Hdf5File, group: Group) -> str:
    """The instruction of a demonstration, or of all of a file's. Empty if there is none."""
    attributes, members = file.attributes(group), file.names(group)
    for name in _JSON[:2]:
        if name in attributes and (text := _first(json_object(file.attribute(group, name)), _JSON_KEYS)):
            return text
    if text := _first({key: file.attribute(group, key) for key in KEYS if key in attributes}, KEYS):
        return text
    if text := _first({key: _text_in(file, group, key) for key in KEYS if key in members}, KEYS):
        return text
    return _first(json_object(file.attribute(group, _JSON[2])), _JSON_KEYS) if _JSON[2] in attributes else ""


def json_object(text: Any) -> Mapping[str, Any]:
    """The object that a text holds as JSON; an empty one if it is something else."""
    try:
        values = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, Mapping) else {}


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """The first that says something."""
    return next((text for key in keys if (text := _sentence(values.get(key)))), "")


def _sentence(value: Any) -> str:
    """LIBERO has some instructions in quotes, and some as a list."""
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        letters = all(len(part) == 1 for part in value)
        value = "".join(value) if letters else next((part for part in value if part.strip()), "")
    return value.strip().strip('"').strip() if isinstance(value, str) else ""


def _text_in(file: Hdf5File, group: Group, name: str) -> Any:
    """A text that is stored as an array of one, or of one a step."""
    array = file.find(name, group)
    if not isinstance(array, Array) or array.dtype.kind not in "OS" or len(array.shape) > 1:
        return None
    return file.first_text(array)
