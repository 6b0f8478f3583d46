"""Names that changed in November 2026: files with the former names are still read.

Files are written with the names of today, and read with either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

NAME = "manyparts"
VERSION = "0.2.0"
FORMER_NAME = "understudy"
NAMES = (NAME, FORMER_NAME)
FORMER_COLUMNS = {"action.expert": "expert_action"}

# Classes and fields that stand in files. Configs and stages are read under either name, and content
# hashes are taken over the former names, so that the keys of archived stages and the hashes in runs
# stay the same. Each table maps the name of today to the former one.
_SEARCH = {
    "std": "deviation",
    "policy_proposals": "advised",
    "proposal_fraction": "proposed",
    "proposal_std": "proposal_deviation",
}
_PROMPTS = {
    "instruction": "sentence",
    "instruction+goal_image": "sentence+goal_image",
    "instruction+demonstration": "sentence+demonstration",
}
FORMER_CLASSES: dict[str, str] = {}
FORMER_FIELDS: dict[str, dict[str, str]] = {  # by the class's name of today
    "TaskEntry": {"instruction": "sentence"},
    "Noise": {"std": "deviation"},
    "LatentStateConfig": {"std": "deviation"},
    "NextStepConfig": {"std": "deviation"},
    "RandomShootingConfig": _SEARCH,
    "CemConfig": _SEARCH,
    "MppiConfig": _SEARCH,
}
FORMER_VALUES: dict[str, dict[str, dict[str, str]]] = {  # by the class's name, and the field's
    "Evaluate": {"prompts": _PROMPTS},
    "PromptStudy": {"matrix_with": _PROMPTS},
}
FORMER_FLAGS = {  # of 0.1; taken with a note until 0.3
    "--noise-std": "--noise-deviation",
    "--planner.std": "--planner.deviation",
    "--planner.policy-proposals": "--planner.advised",
    "--planner.no-policy-proposals": "--planner.no-advised",
    "--planner.proposal-fraction": "--planner.proposed",
    "--planner.proposal-std": "--planner.proposal-deviation",
    "--objectives.next-step.std": "--objectives.next-step.deviation",
    "--objectives.latent-state.std": "--objectives.latent-state.deviation",
}

T = TypeVar("T")


def own_entry(values: Mapping[str, Any]) -> Any:
    """Return this project's entry in a file that other programs write, too; None if there is none.

    It stands under the project's name of today or its former one.
    """
    for name in NAMES:
        if name in values:
            return values[name]
    return None


def columns_of_today(columns: Mapping[str, T]) -> dict[str, T]:
    """Return the same values in the same order, each column under its name of today.

    A dataset that already has a column of the new name keeps the old one as it is.
    """
    current = {name: FORMER_COLUMNS.get(name, name) for name in columns}
    return {
        name if current[name] in columns else current[name]: value
        for name, value in columns.items()
    }


def former_class(name: str) -> str:
    """Return a class's former name in files; its name if that never changed."""
    return FORMER_CLASSES.get(name, name)


def former_field(class_name: str, name: str) -> str:
    """Return a field's former name in files; its name if that never changed.

    Args:
        class_name: The class's name of today.
        name: The field's name of today.
    """
    return FORMER_FIELDS.get(class_name, {}).get(name, name)


def fields_of_today(class_name: str, values: Mapping[str, T]) -> dict[str, T]:
    """Return the same values, each under its field's name of today.

    Args:
        class_name: The class's name of today.
        values: Field to value, under former names or those of today.
    """
    current = {former: name for name, former in FORMER_FIELDS.get(class_name, {}).items()}
    return {current.get(name, name): value for name, value in values.items()}


def names_of_today(values: Any) -> Any:
    """Return JSON values that `to_jsonable` wrote, with classes and fields by their names of today.

    For values that are compared rather than read into their classes.
    """
    if isinstance(values, list):
        return [names_of_today(value) for value in values]
    if not isinstance(values, Mapping):
        return values
    entries = {key: names_of_today(value) for key, value in values.items()}
    written = values.get("type")
    if not isinstance(written, str):
        return entries
    classes = {former: name for name, former in FORMER_CLASSES.items()}
    class_name = classes.get(written, written)
    fields = fields_of_today(class_name, entries | {"type": class_name})
    return {name: value_of_today(class_name, name, value) for name, value in fields.items()}


def former_value(class_name: str, field: str, value: T) -> T | str:
    """Return a value's former name in files, for fields that hold one of several words.

    Args:
        class_name: The class's name of today.
        field: The field's name of today.
        value: The field's value. If it was never renamed, it is returned as it is.
    """
    if not isinstance(value, str):
        return value
    return FORMER_VALUES.get(class_name, {}).get(field, {}).get(value, value)


def value_of_today(class_name: str, field: str, value: T) -> T | str:
    """Invert `former_value`.

    Args:
        class_name: The class's name of today.
        field: The field's name of today.
        value: The field's value, by its former name. A name of today is returned as it is.
    """
    if not isinstance(value, str):
        return value
    names = FORMER_VALUES.get(class_name, {}).get(field, {})
    return {former: name for name, former in names.items()}.get(value, value)


def prompts_of_today(kind: str) -> str:
    """Return a kind of prompt by its name of today; any other text as it is."""
    return {former: name for name, former in _PROMPTS.items()}.get(kind, kind)


def value_of_before(key: str) -> Any:
    """Return what a setting was before there was a choice, where old records do not name it.

    Args:
        key: Dotted, such as "environment.action_repeat".
    """
    return _VALUES_OF_BEFORE.get(key.rpartition(".")[2])


_VALUES_OF_BEFORE: Mapping[str, Any] = {"action_repeat": 1}
