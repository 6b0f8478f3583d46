"""`manyparts bench`: the speed claims, each measured against its baseline in one run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from manyparts.arguments import closest
from manyparts.benchmarks import BENCHMARKS, measure
from manyparts.cli.parsing import parse
from manyparts.types import UserError

if TYPE_CHECKING:
    from manyparts.benchmarks.harness import Row


@dataclass(frozen=True)
class Options:
    """Measure the speed claims and print a table; exit code 1 if one does not hold."""

    names: Positional[tuple[str, ...]] = ()
    """Which: render, collect, windows, windows-peers, windows-scale, phase2-cached, act, pretrain-step, finetune-stage,
    plan-shared-cache, plan-parallel-decoding, plan-control-step, plan-gpu, memory, paper-size, gpu; empty: all."""

    output: Path | None = None
    """A JSONL file to add a row to for each: figures, machine, commit."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="bench")
    for name in options.names:
        if name not in BENCHMARKS:
            raise UserError(
                f"unknown benchmark {name!r}; {closest(name, BENCHMARKS, command='manyparts list benchmarks')}"
            )
    from manyparts.benchmarks.harness import append

    rows = []
    for name in options.names or BENCHMARKS:
        print(f"{name}: {BENCHMARKS[name]}", file=sys.stderr)
        for row in measure(name):
            rows.append(row)
            if options.output is not None:
                append(options.output, row)
    _print(rows)
    return 0 if all(row.holds for row in rows) else 1


def _print(rows: Sequence[Row]) -> None:
    from rich.text import Text

    from manyparts.cli.console import print_table

    cells = []
    for row in rows:
        promised = f"ratio {row.least_ratio:g}" if row.least_ratio else ""
        promised = f"ratio at most {row.most_ratio:g}" if row.most_ratio else promised
        promised = f"{row.least_value:g} {row.unit}" if row.least_value else promised
        mark = Text("holds", "green") if row.holds else Text("does not hold", "red")
        figures = (f"{row.value:.4g}", f"{row.baseline:.4g}", row.unit, f"{row.ratio:.3g}")
        cells.append((row.name, *figures, promised, mark if promised else ""))
    print_table(("name", "value", "baseline", "unit", "ratio", "promised", ""), cells)
