"""Checks of what people pass to public functions: paths, numbers, names and configs.

Each argument is converted, or refused with an error that says what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import numbers
import os
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from manyparts.core.errors import UserError, closest

P = ParamSpec("P")
R = TypeVar("R")
Kind = TypeVar("Kind", bound=type)


def path_of(value: Any, name: str = "path") -> Path:
    """Convert an argument to a path, in which a leading `~` is the home folder.

    Args:
        value: Text or a path.
        name: The argument's name, for errors, such as "output".

    Raises:
        UserError: It is no path, or empty text, which would mean the current folder.
    """
    if not isinstance(value, str | os.PathLike):
        origin = getattr(value, "origin", None)  # an agent says which run it was loaded from
        source = f", loaded from {origin.run}" if origin else ""
        raise UserError(
            f"{name} is of type {type(value).__name__}{source}; "
            "expected a path, as text or pathlib.Path"
        )
    text = os.fspath(value)
    if not text:
        raise UserError(f"{name} is empty; expected a path, or . for the current folder")
    return Path(os.path.expanduser(text))


def expect(name: str, value: object, holds: bool, expected: str) -> None:
    """Raise UserError unless a setting `holds`.

    Args:
        name: The setting's, such as "model.heads".
        value: What it is.
        holds: Whether that is allowed.
        expected: What is, such as "at least 1".
    """
    if not holds:
        raise UserError(f"{name} is {value!r}; expected {expected}")


def whole(name: str, value: Any, *, minimum: int | None = None) -> int:
    """Convert an argument to an int; numpy's integers are allowed.

    Args:
        name: The argument's name, for the error.
        value: The argument; a bool is no number here.
        minimum: The smallest number that is allowed; None for any.

    Raises:
        UserError: It is no whole number, or below the minimum.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UserError(f"{name} is {value!r}; expected a whole number")
    if minimum is not None and value < minimum:
        raise UserError(f"{name} is {value}; expected at least {minimum}")
    return int(value)


def names_of(value: Any, name: str) -> tuple[str, ...]:
    """Convert an argument to several names.

    Args:
        value: Several texts, or plain text for a single name.
        name: The argument's name, for the error.

    Raises:
        UserError: It is neither text nor several texts.
    """
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Iterable):
        raise UserError(f"{name} is {value!r}; expected names, as text")
    names = tuple(names)
    for item in names:
        if not isinstance(item, str):
            raise UserError(f"{name} holds {item!r}; expected names, as text")
    return names


def explained(**hints: type | str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that a call with wrong arguments says which ones are right.

    Without it, Python raises a TypeError that names only the wrong argument.

    Args:
        hints: By argument. For one that is a config, its class: whoever passes one of the config's
            fields as an argument reads how to pass it. For one that does not exist, what to do
            instead, as text.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except TypeError:
                # The error may come from within the function. Only if the arguments do not fit its
                # signature is the call itself wrong.
                try:
                    signature.bind(*args, **kwargs)
                except TypeError as error:
                    text = _explain_call(function.__name__, signature, kwargs, hints, error)
                    raise UserError(text) from None
                raise

        return call

    return decorate


def set_by_replace(kind: Kind) -> Kind:
    """Decorate a frozen dataclass so that misuse ends in a UserError with the right call.

    Setting a field says how to make a changed copy. Making one with an unknown field names the
    right field, or the part of the config that has it.
    """

    def refuse(self: Any, name: str, value: Any) -> None:
        call = f"replace({kind.__name__}(...), {name}={value!r})"
        raise UserError(
            f"{kind.__name__}.{name} cannot be set; make another one: dataclasses.{call}"
        )

    # A frozen dataclass sets its own fields with object.__setattr__, which this leaves alone.
    setattr(kind, "__setattr__", refuse)  # noqa: B010
    setattr(kind, "__init__", _refuse_unknown_fields(kind, kind.__init__))  # noqa: B010
    return kind


def _refuse_unknown_fields(kind: type, init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        unknown = [name for name in kwargs if name not in signature.parameters]
        if unknown:
            problem = f"{kind.__name__} has no field {unknown[0]!r}"
            if call := _call_that_sets(kind, unknown[0], "config"):
                raise UserError(f"{problem}, which is in a part of it: {call}")
            raise UserError(f"{problem}; {closest(unknown[0], _field_names(kind))}")
        init(self, *args, **kwargs)

    return checked_init


def _explain_call(
    function: str,
    signature: inspect.Signature,
    keywords: dict[str, Any],
    hints: dict[str, type | str],
    error: TypeError,
) -> str:
    """Say what is wrong with a call's arguments, and which ones the function takes."""
    parameters = [name for name in signature.parameters if name != "self"]
    unknown = [name for name in keywords if name not in parameters]
    if not unknown:
        return f"{function}(): {error}; it takes {', '.join(parameters)}"
    name = unknown[0]
    problem = f"{function}() has no argument {name!r}"
    if isinstance(advice := hints.get(name), str):
        return f"{problem}: {advice}"
    for argument, config in hints.items():
        if isinstance(config, type) and (call := _call_that_sets(config, name, argument)):
            return f"{problem}, which is a field of {config.__name__}: pass {call}"
    near = difflib.get_close_matches(name, parameters, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{problem}; {guess}it takes {', '.join(parameters)}"


def _call_that_sets(config: type, field: str, argument: str) -> str | None:
    """Return the text of an argument that sets a field of a config or of one of its parts.

    Such as "config=TrainConfig(steps=...)"; None if no part of the config has the field.
    """
    if field in _field_names(config):
        return f"{argument}={_changed(config, argument, f'{field}=...')}"
    for part, kind in typing.get_type_hints(config).items():
        if dataclasses.is_dataclass(kind) and field in _field_names(kind):
            inner = f"{part}=replace({argument}.{part}, {field}=...)"
            return f"{argument}={_changed(config, argument, inner)}"
    return None


def _changed(config: type, argument: str, change: str) -> str:
    """Return the text of a call that makes the changed config.

    It is `dataclasses.replace` for a class with required fields, which the caller has set already.
    """
    has_required_field = any(
        item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        for item in dataclasses.fields(config)
    )
    if has_required_field:
        return f"dataclasses.replace({argument}, {change})"
    return f"{config.__name__}({change})"


def _field_names(kind: Any) -> list[str]:
    return [item.name for item in dataclasses.fields(kind)]
