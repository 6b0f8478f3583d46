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
        _print_summary(summary)
    return 0


def _print_summary(summary: Mapping[str, Any]) -> None:
    """Facts as a list, then each list of records as a table."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    from understudy.cli.console import console

    tables = {
        key: value for key, value in summary.items() if isinstance(value, list) and value and _is_record(value[0])
    }
    facts = Table(box=None, show_header=False)
    for key, value in _flat({key: value for key, value in summary.items() if key not in tables}).items():
        facts.add_row(key.replace("_", " "), escape(_text(value)))
    console().print(facts)
    for rows in tables.values():
        table = Table(box=SIMPLE)
        for number, key in enumerate(rows[0]):
            table.add_column(key.replace("_", " "), no_wrap=number == 0)
        for row in rows:
            table.add_row(*(escape(_text(value)) for value in row.values()))
        console().print(table)


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
