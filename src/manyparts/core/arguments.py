"""What people pass to public functions: paths, numbers, names and configs, each understood or
refused in one place."""

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
    """A path, in which a leading `~` is the home folder.

    Args:
        value: text or a path.
        name: what the path is for, such as "output".

    Raises:
        UserError: for anything else, and for empty text, which would mean the current folder.
    """
    if not isinstance(value, str | os.PathLike):
        origin = getattr(value, "origin", None)  # of an agent
        source = f", loaded from {origin.run}" if origin else ""
        raise UserError(
            f"{name} is of type {type(value).__name__}{source}; expected a path, as text or pathlib.Path"
        )
    text = os.fspath(value)
    if not text:
        raise UserError(f"{name} is empty; expected a path, or . for the current folder")
    return Path(os.path.expanduser(text))


def whole(name: str, value: Any, *, minimum: int | None = None) -> int:
    """An int, also from numpy. Raises UserError for another number, for text, and for one below the
    minimum."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UserError(f"{name} is {value!r}; expected a whole number")
    if minimum is not None and value < minimum:
        raise UserError(f"{name} is {value}; expected at least {minimum}")
    return int(value)


def names_of(value: Any, name: str) -> tuple[str, ...]:
    """Several names, or a single one as plain text. Raises UserError for anything else."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Iterable):
        raise UserError(f"{name} is {value!r}; expected names, as text")
    names = tuple(names)
    for each in names:
        if not isinstance(each, str):
            raise UserError(f"{name} holds {each!r}; expected names, as text")
    return names


def explained(**hints: type | str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a call with wrong arguments end in a UserError that names the right ones.

    Args:
        hints: for an argument that is a config, its class: whoever passes one of its fields reads
        where it belongs.
            For an argument that does not exist, what to do instead.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except TypeError:
                try:
                    signature.bind(*args, **kwargs)
                except TypeError as error:
                    raise UserError(
                        _wrong_call(function.__name__, signature, kwargs, hints, error)
                    ) from None
                raise

        return call

    return decorate


def set_by_replace(kind: Kind) -> Kind:
    """Make setting a field of a frozen dataclass end in a UserError that says how to get another
    value, and making one with a field that it has not in one that names the right one."""

    def refuse(self: Any, name: str, value: Any) -> None:
        held = f"replace({kind.__name__}(...), {name}={value!r})"
        raise UserError(
            f"{kind.__name__}.{name} cannot be set; make another one: dataclasses.{held}"
        )

    setattr(kind, "__setattr__", refuse)  # noqa: B010, a dataclass that is frozen has set its own
    setattr(kind, "__init__", _with_known_fields(kind, kind.__init__))  # noqa: B010
    return kind


def _with_known_fields(kind: type, make: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(make)

    @functools.wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if unknown := [name for name in kwargs if name not in signature.parameters]:
            if held := _holder(kind, unknown[0], "config"):
                raise UserError(
                    f"{kind.__name__} has no field {unknown[0]!r}, which is in a part of it: {held}"
                )
            own = [item.name for item in dataclasses.fields(kind)]
            raise UserError(
                f"{kind.__name__} has no field {unknown[0]!r}; {closest(unknown[0], own)}"
            )
        make(self, *args, **kwargs)

    return init


def _wrong_call(
    function: str,
    signature: inspect.Signature,
    passed: dict[str, Any],
    hints: dict[str, type | str],
    error: TypeError,
) -> str:
    takes = [name for name in signature.parameters if name != "self"]
    unknown = [name for name in passed if name not in takes]
    if not unknown:
        return f"{function}(): {error}; it takes {', '.join(takes)}"
    name = unknown[0]
    if isinstance(advice := hints.get(name), str):
        return f"{function}() has no argument {name!r}: {advice}"
    for argument, config in hints.items():
        if isinstance(config, type) and (held := _holder(config, name, argument)):
            return f"{function}() has no argument {name!r}, which is a field of {config.__name__}: pass {held}"
    near = difflib.get_close_matches(name, takes, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{function}() has no argument {name!r}; {guess}it takes {', '.join(takes)}"


def _holder(config: type, name: str, argument: str) -> str | None:
    """How to pass a config in which a field, of its own or of one of its parts, is set; None if
    there is none."""
    own = {item.name for item in dataclasses.fields(config)}
    if name in own:
        return f"{argument}={_changed(config, argument, f'{name}=...')}"
    for part, kind in typing.get_type_hints(config).items():
        if dataclasses.is_dataclass(kind) and name in {
            item.name for item in dataclasses.fields(kind)
        }:
            inner = f"{part}=replace({argument}.{part}, {name}=...)"
            return f"{argument}={_changed(config, argument, inner)}"
    return None


def _changed(config: type, argument: str, change: str) -> str:
    """A call that makes the changed config: of its class where nothing else has to be said."""
    nothing = dataclasses.MISSING
    needed = any(
        item.default is nothing and item.default_factory is nothing
        for item in dataclasses.fields(config)
    )
    return (
        f"dataclasses.replace({argument}, {change})" if needed else f"{config.__name__}({change})"
    )
