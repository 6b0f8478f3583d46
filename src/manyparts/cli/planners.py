"""Flags of planners, for commands in which a dynamics model acts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from tyro.conf import arg

from manyparts.core.errors import UserError
from manyparts.core.plugins import names_added

if TYPE_CHECKING:
    from manyparts.planners import PlannerConfig

T = TypeVar("T")

_OWN_NAMES = ("random-shooting", "cem", "mppi", "policy")


def planner_of(arguments: Sequence[str]) -> PlannerConfig | None:
    """The usual settings of the planner that the arguments name; None for an unknown one, too.

    Args:
        arguments: what the user typed after the command's name.

    Raises:
        UserError: there are settings of a planner, and no planner.
    """
    words: list[str] = []
    for argument in arguments:
        words += argument.split("=", 1)
    if "--planner" not in words[:-1]:
        if any(argument.startswith("--planner.") for argument in arguments):
            raise UserError(
                f"settings of a planner need --planner; choices: {', '.join(_planner_names())}"
            )
        return None
    name = words[words.index("--planner") + 1]
    if name not in _planner_names():
        return None
    from manyparts.planners import planner_config  # loads torch, which takes seconds

    return planner_config(name)()


def with_planner(options: type[T], planner: PlannerConfig | None) -> type[T]:
    """A command's options with the planners of plug-ins and, if there is a planner, one more field,
    `planner_config`, its fields as flags.

    Args:
        options: the command's, with a field `planner`.
        planner: the chosen one.
    """
    choices: Any = Literal[tuple(_planner_names())]
    fields: list[Any] = [("planner", choices | None, dataclasses.field(default=None))]
    if planner is not None:
        flags: Any = Annotated[type(planner), arg(name="planner")]
        fields.append(("planner_config", flags, dataclasses.field(default=planner)))
    return dataclasses.make_dataclass(
        "Options", fields, bases=(options,), namespace={"__doc__": options.__doc__}, frozen=True
    )


def _planner_names() -> list[str]:
    """The names of all planners. Their table would load torch."""
    return [*_OWN_NAMES, *names_added("planners", _OWN_NAMES)]
