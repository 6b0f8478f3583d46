"""Command-line flags to a frozen dataclass through tyro, with every rejection as one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import re
import sys
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from manyparts.cli.help_page import tidy
from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError, closest
from manyparts.core.naming import FORMER_FLAGS
from manyparts.core.printing import say

T = TypeVar("T")
_VALUES = {int: "a whole number", float: "a number", str: "text", Path: "a path"}
_POSITIONAL = typing.get_args(tyro.conf.Positional[str])[1]


def parse(kind: type[T], arguments: Sequence[str], *, command: str, default: T | None = None) -> T:
    """An instance of the dataclass `kind` from command-line flags.

    In paths a leading `~` is the home folder, also where the shell leaves it alone
    (`--output=~/run`). Flags of 0.1 are taken, with a line that names today's. `--help` prints the
    flags and exits.

    Args:
        kind: the dataclass; its fields are the flags.
        arguments: what the user typed after the command's name.
        command: the command's name, for messages.
        default: values of all fields; None: the class's own.

    Raises:
        UserError: an unknown flag, a missing one or a bad value.
    """
    hints = dict(_flags_below(kind, default, ""))
    arguments = [_flag_of_today(argument, hints) for argument in arguments]
    arguments = _with_none(arguments, hints)
    _require_values(kind, arguments, command, default)
    messages, page = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(page):
            parsed = _tyro(kind, arguments, command, default)
    except SystemExit as stop:
        if stop.code in (0, None):
            print(tidy(page.getvalue()), end="")
            raise
        text = messages.getvalue()
        reason = _unknown_flag(arguments, flags(kind, default=default), command)
        if reason is None and (missing := _missing_flags(kind, text)):
            reason = f"missing {missing}; see manyparts {command} --help"
        if reason is None:
            reason = _bad_value(arguments, hints, text)
            reason = reason and f"{reason}; see manyparts {command} --help"
        raise UserError(
            reason or f"{_one_line(text)} (`manyparts {command} --help` lists all flags)"
        ) from None
    print(page.getvalue(), end="")
    print(messages.getvalue(), file=sys.stderr, end="")
    return _with_whole_paths(parsed)


def flags(kind: type[Any], *, default: Any = None) -> list[str]:
    """Every flag that `parse` takes for `kind`, in the order of its fields; those of nested configs
    have a dot before their names.

    Args:
        kind: the dataclass; its fields are the flags.
        default: values of all fields; None: the class's own.
    """
    return ["--help", *(flag for flag, _ in _flags_below(kind, default, ""))]


def _require_values(kind: type[Any], arguments: Sequence[str], command: str, default: Any) -> None:
    """Raise a UserError for a flag that takes a value and has none.

    tyro takes a flag of several values without any, which then would have no effect.
    """
    if "--help" in arguments or "-h" in arguments:
        return
    hints = dict(_flags_below(kind, default, ""))
    for argument, following in zip(arguments, [*arguments[1:], "--end"], strict=False):
        flag = argument.replace("_", "-")
        if hints.get(flag, bool) is not bool and _is_flag(following):
            expected = _expected(hints[flag])
            raise UserError(
                f"{argument} has no value; expected {expected}; see manyparts {command} --help"
            )


def _bad_value(arguments: Sequence[str], hints: Mapping[str, Any], message: str) -> str | None:
    """What is wrong with the flag's value, or the word, that tyro's message is about; None
    if it is about something else."""
    if unread := re.search(r"Unrecognized options: (\S+)", message):
        word = unread[1]
        before = arguments[arguments.index(word) - 1] if word in arguments[1:] else ""
        if hints.get(before.replace("_", "-")) is bool:
            return f"{before} takes no value, and {word!r} follows it"
        return f"{word!r} belongs to no flag; flags begin with --, as in --seed 1"
    named = re.search(r"(?:Error parsing |for argument ')(--[\w.-]+)", message)
    if named is None or named[1] not in hints:
        return None
    flag, values = named[1], []
    for position, argument in enumerate(arguments):
        written, equals, value = argument.partition("=")
        if written.replace("_", "-") == flag:
            rest = [value] if equals else arguments[position + 1 :]
            values = list(itertools.takewhile(lambda word: not _is_flag(word), rest))
    written = " ".join(values)
    return f"{flag} is {written!r}; expected {_expected(hints[flag], written)}"


def _is_flag(argument: str) -> bool:
    """Whether an argument is written as a flag; a negative number is none."""
    return re.match(r"--?[a-zA-Z]", argument) is not None


def _expected(hint: Any, written: str = "") -> str:
    """What a flag of this type takes, in words. written: what it was given."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in _VALUES:
        return _VALUES[hint]
    if kind is typing.Literal:
        few = len(parts) <= 5
        return f"one of {', '.join(map(str, parts))}" if few else closest(written, map(str, parts))
    if kind is tuple and parts[-1] is Ellipsis:
        return f"{_expected(parts[0], written)}, or several"
    if kind is tuple:
        return f"{len(parts)} values"
    choices = [part for part in parts if part is not type(None)]
    return _expected(choices[0], written) if len(choices) == 1 else "a value"


def _flags_below(kind: type[Any], default: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for item in dataclasses.fields(kind):
        marks = getattr(hints[item.name], "__metadata__", ())
        if not item.init or any(mark is _POSITIONAL for mark in marks):
            continue
        named = [mark.name for mark in marks if getattr(mark, "name", None) is not None]
        value = _value_of(item) if default is None else getattr(default, item.name)
        yield from _flags_of(
            named[0] if named else item.name.replace("_", "-"), hints[item.name], value, prefix
        )


def _flags_of(name: str, hint: Any, value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The flags of one field, each with its type; of a config, or a mapping of configs, those of
    its fields."""
    below = f"{prefix}{name}." if name else prefix
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _flags_below(type(value), value, below)
    elif isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flags_of(key.replace("_", "-"), Any, part, below)
    elif dataclasses.is_dataclass(plain := _without_marks(hint)) and isinstance(plain, type):
        yield from _flags_below(plain, None, below)
    elif not _is_config_or_none(plain):
        yield f"--{prefix}{name}", plain
        if plain is bool:
            yield f"--{prefix}no-{name}", plain


def _value_of(item: dataclasses.Field[Any]) -> Any:
    return (
        item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    )


def _without_marks(hint: Any) -> Any:
    return typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _is_config_or_none(hint: Any) -> bool:
    """Whether a field may hold a config. It is asked only of one that holds None, and then there
    are no flags."""
    return any(dataclasses.is_dataclass(part) for part in typing.get_args(hint))


def _flag_of_today(argument: str, flags: Collection[str]) -> str:
    """The argument; a flag of 0.1 that the command has gets its name of today, and a line on stderr
    says so."""
    former, equals, value = argument.partition("=")
    written = former.replace("_", "-")
    for flag, before in FORMER_FLAGS.items():
        if written == before and flag in flags:
            say(f"{former} is called {flag} now; the former name is taken until 0.3", error=True)
            return f"{flag}{equals}{value}"
    return argument


def _with_none(arguments: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """The arguments, with "none" as tyro writes it where a flag may have no value."""
    read = list(arguments)
    for position, (flag, value) in enumerate(itertools.pairwise(arguments), start=1):
        parts = typing.get_args(hints.get(flag.replace("_", "-")))
        if type(None) in parts and value == "none":
            read[position] = "None"
    return read


def _with_whole_paths(options: Any) -> Any:
    """The same options with `~` expanded in each path."""
    values = {item.name: getattr(options, item.name) for item in dataclasses.fields(options)}
    whole = {name: _whole_path(value, name) for name, value in values.items()}
    changed = {name: value for name, value in whole.items() if value is not values[name]}
    return dataclasses.replace(options, **changed) if changed else options


def _whole_path(value: Any, name: str) -> Any:
    if isinstance(value, Path):
        expanded = path_of(value, f"--{name.replace('_', '-')}")
        return value if expanded == value else expanded
    if isinstance(value, tuple) and any(isinstance(each, Path) for each in value):
        return tuple(_whole_path(each, name) for each in value)
    return value


def _tyro(kind: type[T], arguments: Sequence[str], command: str, default: T | None) -> T:
    options: dict[str, Any] = {} if default is None else {"default": default}
    # A union takes the kind that the default has, so that its fields are flags like all others.
    config = (tyro.conf.AvoidSubcommands,)
    return tyro.cli(
        kind, args=list(arguments), prog=f"manyparts {command}", config=config, **options
    )


def _unknown_flag(arguments: Sequence[str], flags: Sequence[str], command: str) -> str | None:
    """What is wrong with the first argument that is no flag of the command; None if all are."""
    every = f"manyparts {command} --help"
    for argument in arguments:
        written = argument.partition("=")[0]
        flag = written.replace("_", "-")
        if _is_flag(flag) and flag not in flags:
            return f"unknown flag {written}; {closest(flag, flags, command=every)}"
    return None


def _missing_flags(kind: type[Any], message: str) -> str:
    """The flags that tyro's message says are missing, and arguments without a flag in capitals;
    empty if none are."""
    _, found, listed = message.partition("Missing from ")
    if not found:
        return ""
    names = [item.name.replace("_", "-") for item in dataclasses.fields(kind)]
    words = [f"--{name}" for name in names] + [name.upper() for name in names]
    # Each that is missing begins a line, which its help follows.
    begins = re.findall(r"^[\s│]*(--[\w-]+|[A-Z][A-Z-]+)\b", listed, re.MULTILINE)
    return ", ".join(word for word in begins if word in words)


def _one_line(box: str) -> str:
    """The text between the title and the first rule of tyro's boxed message."""
    lines = [line.strip("│|╭╮╰╯ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    message = ""
    for line in lines:
        if message and re.fullmatch("[-─]+", line):
            break
        message += "" if re.fullmatch("[-─]*", line) else f"{line} "
    return re.sub(r"^Missing from manyparts [\w /-]+:", "missing", message.strip())
