"""`manyparts bench`: the speed claims, each measured against its baseline in one run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError, closest

if TYPE_CHECKING:
    from rich.text import Text

CLONE = Path(__file__).parents[3]  # benchmarks are in the clone, and not in the wheel


@dataclass(frozen=True)
class Options:
    """Measure the speed claims and print a table. This works in a clone of the repository.

    Exit code 0 if all claims hold, else 1.
    """

    names: Positional[Annotated[tuple[str, ...], arg(metavar="NAME ...")]] = ()
    """Benchmarks to run; if left out, all. `manyparts list benchmarks` shows them."""

    output: Path | None = None
    """A JSONL file, to which a row is added for each figure, with machine and commit."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts bench`, and return its exit code."""
    options = parse(Options, arguments, command="bench")
    benchmarks = load_benchmarks()
    for name in options.names:
        if name not in benchmarks.BENCHMARKS:
            near = closest(name, benchmarks.BENCHMARKS, command="manyparts list benchmarks")
            raise UserError(f"unknown benchmark {name!r}; {near}")
    rows = []
    for name in options.names or benchmarks.BENCHMARKS:
        print(f"{name}: {benchmarks.BENCHMARKS[name]}", file=sys.stderr)
        for row in benchmarks.measure(name):
            rows.append(row)
            if options.output is not None:
                benchmarks.append(options.output, row)
    _print(rows)
    return 0 if all(row.holds for row in rows) else 1


def load_benchmarks() -> ModuleType:
    """The package `benchmarks` of the clone that this runs from.

    Raises:
        UserError: this is an installed package without its clone.
    """
    if not (CLONE / "benchmarks" / "harness.py").is_file():
        raise UserError(
            "benchmarks are not part of the installed package: run `manyparts bench` in a clone"
        )
    if str(CLONE) not in sys.path:
        sys.path.append(str(CLONE))
    return importlib.import_module("benchmarks")


def _print(rows: Sequence[Any]) -> None:
    from manyparts.cli.console import print_table, significant

    cells = []
    for row in rows:
        promised = _promise(row)
        value, baseline = significant(row.value, 4), significant(row.baseline, 4)
        figures = (value, baseline, row.unit, significant(row.ratio, 3))
        cells.append((row.name, *figures, promised, _verdict(row) if promised else ""))
    print_table(("name", "value", "baseline", "unit", "ratio", "promised", ""), cells)


def _promise(row: Any) -> str:
    promises = [f"{row.min_value:g} {row.unit}"] if row.min_value else []
    promises += [f"ratio at most {row.max_ratio:g}"] if row.max_ratio else []
    promises += [f"ratio {row.min_ratio:g}"] if row.min_ratio else []
    return ", ".join(promises)


def _verdict(row: Any) -> Text:
    from rich.text import Text

    return Text("holds", "green") if row.holds else Text("does not hold", "red")
