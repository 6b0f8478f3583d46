"""The page of the command line: every command with its flags, from the parser that reads them."""

from __future__ import annotations

import argparse
import contextlib
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import tyro
from pages import cell, code, page, table

from manyparts import cli
from manyparts.cli import data, parsing

PRESET = "dualmind/phase1-laptop"
INTRODUCTION = """
```text
manyparts COMMAND [FLAGS]
manyparts COMMAND --help
manyparts --version
```

Every command ends with 0 if it did what you asked. It ends with 1 if a check failed or a stage of a
study failed, with 2 on bad input (one line says what to do), and with 130 if you interrupted it.

A flag without a value, such as `--overwrite`, is off by default. `--no-overwrite` says so.
"""


def render() -> str:
    """The page."""
    sections = [section for name in cli.COMMANDS for section in _sections(name)]
    overview = table(("command", "what it does"), [_overview(name) for name in cli.COMMANDS])
    return page("Command line", INTRODUCTION, [overview, *sections])


def _overview(name: str) -> tuple[str, str]:
    return f"[`manyparts {name}`](#manyparts-{name})", cell(cli.COMMANDS[name])


def _sections(name: str) -> list[str]:
    if name == "data":
        actions = [_section(f"data {action}", ["data", action], level=3) for action in data.ACTIONS]
        heads = [
            (f"[`{action}`](#manyparts-data-{action})", cell(text))
            for action, text in data.ACTIONS.items()
        ]
        return ["## manyparts data", table(("action", "what it does"), heads), *actions]
    if name == "train":
        return [_section("train", ["train", PRESET], level=2, after=TRAIN)]
    return [_section(name, [name], level=2)]


TRAIN = f"""
Every field of the preset is a flag too, such as `--optimizer.learning-rate 5e-4`. The page
[Configuration](configuration.md) lists these fields, and this command prints them with the values
of one preset:

```bash
manyparts train {PRESET} --help
```
"""


def _section(title: str, words: Sequence[str], *, level: int, after: str = "") -> str:
    parser = parser_of(words)
    actions = [action for action in parser._actions if action.dest != "help"]
    plain = [action for action in actions if "." not in action.dest or words[0] != "train"]
    usage = _usage(
        words, [action for action in actions if _is_required(action) or not action.option_strings]
    )
    rows = [_row(action) for action in plain]
    parts = [f"{'#' * level} manyparts {title}", _described(parser.description or ""), usage]
    parts += [table(("flag", "value", "default", "meaning"), rows), after.strip()]
    return "\n\n".join(part for part in parts if part)


def parser_of(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser that a command reads its flags with."""
    asked: list[tuple[Any, Mapping[str, Any]]] = []

    def record(kind: Any, **options: Any) -> None:
        asked.append((kind, options))
        raise SystemExit(0)

    with mock.patch.object(parsing.tyro, "cli", record), contextlib.suppress(SystemExit):
        cli.main([*words, "--help"])
    kind, options = asked[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return tyro.extras.get_parser(
            kind, **{name: value for name, value in options.items() if name != "args"}
        )


def _described(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _usage(words: Sequence[str], needed: Sequence[argparse.Action]) -> str:
    said = ["manyparts", *("PRESET" if word == PRESET else word for word in words)]
    for action in needed:
        name = action.dest.rpartition(".")[2].upper().replace("_", "-")
        many = " ..." if action.nargs in ("*", "+") else ""
        if action.option_strings:
            said.append(f"{action.option_strings[0]} {_value(action)}")
        else:
            said.append(f"{name}{many}" if _is_required(action) else f"[{name}{many}]")
    return f"```text\n{' '.join(said)} [FLAGS]\n```"


def _is_required(action: argparse.Action) -> bool:
    return (action.help or "").rstrip().endswith("(required)")


def _row(action: argparse.Action) -> tuple[str, str, str, str]:
    """The flag, what it takes, what it is otherwise, and what it means."""
    words = " ".join((action.help or "").split())
    meaning, _, default = words.rpartition("(default: ") if words.endswith(")") else (words, "", "")
    if _is_required(action):
        meaning, default = words.removesuffix("(required)"), ""
    default = default.removesuffix(")")
    name = code(action.option_strings[0] if action.option_strings else action.dest.upper())
    shown = "required" if _is_required(action) else code("" if default == "None" else default)
    if action.nargs == 0:
        shown = "on" if action.default is True else "off"
    return name, _choices(action), shown, cell(meaning)


def _choices(action: argparse.Action) -> str:
    """What stands after a flag, for a cell: each choice apart, so that they may stand below each
    other."""
    return " ".join(code(choice) for choice in _value(action).split("|"))


def _value(action: argparse.Action) -> str:
    """What stands after a flag, such as "INT" or "a|b"."""
    text = str(action.metavar or "")
    text = text.replace("{None}|", "").replace("{None,", "{")
    repeated = re.search(r"(\w+) \[\1 \.\.\.\]", text)
    text = f"{repeated[1]} ..." if repeated else text.strip("[]")
    return text.replace("{", "").replace("}", "").replace(",", "|")
