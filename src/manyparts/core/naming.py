"""Names of today, and those they had until November 2026, which stand in files that were written
before.

What is written carries the name of today. What is read may carry either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

NAME = "manyparts"
VERSION = "0.2.0"
FORMER_NAME = "understudy"
NAMES = (NAME, FORMER_NAME)
FORMER_COLUMNS = {"action.expert": "expert_action"}

# Records that stand in files. Configurations and stages are read under either name, and content
# hashes are taken over the former ones: the keys of stages that are archived, and the hashes in
# runs, stay what they were. Each table maps what is called so today to what it was called before.
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
    """What this project wrote into a file that other programs write, too: the entry under its name
    of today or its former one. None if there is none."""
    return next((values[name] for name in NAMES if name in values), None)


def columns_of_today(columns: Mapping[str, T]) -> dict[str, T]:
    """The same values in the same order, each column under its name of today.

    A dataset that has a column of the new name already keeps the old one as it is.
    """
    current = {name: FORMER_COLUMNS.get(name, name) for name in columns}
    return {
        name if current[name] in columns else current[name]: value
        for name, value in columns.items()
    }


def former_class(name: str) -> str:
    """What a class was called in files before; its name if it had no other."""
    return FORMER_CLASSES.get(name, name)


def former_field(class_name: str, name: str) -> str:
    """What a field of a class, by its name of today, was called in files before; its name if it had
    no other."""
    return FORMER_FIELDS.get(class_name, {}).get(name, name)


def fields_of_today(class_name: str, values: Mapping[str, T]) -> dict[str, T]:
    """The same values, each under its field's name of today. class_name: of today."""
    current = {former: name for name, former in FORMER_FIELDS.get(class_name, {}).items()}
    return {current.get(name, name): value for name, value in values.items()}


def former_value(class_name: str, field: str, value: T) -> T | str:
    """What a value of a field was called in files before; the value itself if it had no other
    name."""
    names = FORMER_VALUES.get(class_name, {}).get(field, {})
    return names.get(value, value) if isinstance(value, str) else value


def value_of_today(class_name: str, field: str, value: T) -> T | str:
    """The inverse of `former_value`; a name of today is left as it is."""
    names = FORMER_VALUES.get(class_name, {}).get(field, {})
    current = {former: name for name, former in names.items()}
    return current.get(value, value) if isinstance(value, str) else value


def prompts_of_today(kind: str) -> str:
    """A kind of prompt by its name of today; any other text as it is."""
    return {former: name for name, former in _PROMPTS.items()}.get(kind, kind)
