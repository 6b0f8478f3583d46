"""`understudy data info`: what is in a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from understudy.cli.parsing import closest, parse
from understudy.types import UserError

ACTIONS = {"info": "what is in a dataset: tasks, episodes, frames, embodiment, statistics, fingerprint"}


@dataclass(frozen=True)
class InfoOptions:
    """What is in a dataset: tasks, episodes, frames, embodiment, statistics, fingerprint."""

    path: Positional[Path]
    """The dataset's folder."""

    json: bool = False
    """Print the summary as JSON."""


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: understudy data ACTION\n\n" + "\n".join(f"  {name}  {text}" for name, text in ACTIONS.items()))
        return 0
    action, *rest = arguments
    if action not in ACTIONS:
        raise UserError(f"unknown action {action!r} of `understudy data`; {closest(action, ACTIONS)}")
    options = parse(InfoOptions, rest, command="data info")
    from understudy.data.dataset import EpisodeDataset

    summary = EpisodeDataset.open(options.path).summary()
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        _print_summary(options.path, summary)
    return 0


def _print_summary(path: Path, summary: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console, facts = Console(), Table("", "", title=str(path), title_justify="left", show_header=False, box=None)
    for key, value in summary.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            _print_rows(console, key, value)
        else:
            facts.add_row(key.replace("_", " "), _text(value))
    console.print(facts)


def _print_rows(console: Any, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(*(key.replace("_", " ") for key in rows[0]), title=title, title_justify="left")
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row.values()))
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
