"""Flags to a frozen dataclass through tyro, with every rejection as one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError, closest

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], *, command: str, default: T | None = None) -> T:
    """An instance of the dataclass `kind` from command-line flags.

    In paths a leading `~` is the home folder, also where the shell leaves it alone (`--output=~/run`). `--help` prints
    the flags and exits. Raises UserError on an unknown flag, a missing one or a bad value.
    """
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            parsed = _tyro(kind, arguments, command, default)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        unknown = _unknown_flag(arguments, flags(kind, command=command, default=default), command)
        missing = _missing_flags(kind, messages.getvalue())
        said = f"missing {missing}; see manyparts {command} --help" if missing else None
        raise UserError(unknown or said or f"{_one_line(messages.getvalue())} (`manyparts {command} --help`)") from None
    print(messages.getvalue(), file=sys.stderr, end="")
    return _with_whole_paths(parsed)


def flags(kind: type[Any], *, command: str, default: Any = None) -> list[str]:
    """Every flag that `parse` knows for `kind`, as its help lists them."""
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        _tyro(kind, ["--help"], command, default)
    return flags_of_help(page.getvalue())


def flags_of_help(page: str) -> list[str]:
    """The flags that a help page lists."""
    found = re.findall(r"^[│ ]+(?:-\w, )?(--[a-z][\w.-]*)(?:, (--[a-z][\w.-]*))?", page, flags=re.MULTILINE)
    return [flag for pair in found for flag in pair if flag]


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
    return tyro.cli(kind, args=list(arguments), prog=f"manyparts {command}", config=config, **options)


def _unknown_flag(arguments: Sequence[str], known: Sequence[str], command: str) -> str | None:
    every = f"manyparts {command} --help"
    for argument in arguments:
        given = argument.partition("=")[0]
        flag = given.replace("_", "-")
        if re.match(r"--?[a-zA-Z]", flag) and flag not in known:
            return f"unknown flag {given}; {closest(flag, known, command=every)}"
    return None


def _missing_flags(kind: type[Any], message: str) -> str:
    """The flags, and the arguments without one in capitals, that tyro's message says are missing; empty if none are."""
    if not re.search(r"Missing from|[Rr]equired option|[Mm]issing ", message):
        return ""
    needed = [
        item.name
        for item in dataclasses.fields(kind)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    named = [f"--{name.replace('_', '-')}" for name in needed]
    lacking = [flag for flag in named if re.search(rf"{flag}\b", message)]
    bare = [name.upper() for name, flag in zip(needed, named, strict=True) if flag not in lacking and not lacking]
    return ", ".join(lacking or bare)


def _one_line(box: str) -> str:
    """What stands between the title and the first rule of tyro's boxed message."""
    lines = [line.strip("│|╭╮╰╯ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    message = ""
    for line in lines:
        if message and re.fullmatch("[-─]+", line):
            break
        message += "" if re.fullmatch("[-─]*", line) else f"{line} "
    return re.sub(r"^Missing from manyparts [\w /-]+:", "missing", message.strip())
