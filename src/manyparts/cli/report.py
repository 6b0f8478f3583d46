"""`manyparts report`: one self-contained HTML file of a run, or of several that act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import say


@dataclass(frozen=True)
class Options:
    """Write what a run can do into one HTML file, small enough to mail: success, learning curves,
    videos, provenance, and the commands that make it again.

    Several runs that learned by acting are compared. Those that differ in their seed alone are one
    method, whose curves have 95 % intervals over seeds.
    """

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN ...")]] = ()
    """A run or checkpoint folder that was evaluated, such as with `manyparts evaluate RUN --videos
    2`, or the name of an agent that comes with the package. Or several runs of presets that act,
    such as dreamer/laptop."""

    output: Path | None = None
    """The file to write; if left out, RUN/report.html, and comparison.html next to the first of
    several runs."""

    evaluation: Path | None = None
    """The folder that the run was evaluated into, if that is not RUN/evaluation; not for several
    runs."""

    measure: Literal["return", "success"] = "success"
    """What --score is of, when several runs are compared."""

    score: float = 0.9
    """The score that environment steps are counted to, when several runs are compared."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts report`, and return its exit code."""
    options = parse(Options, arguments, command="report")
    runs = list[Path](options.runs)
    if not runs:
        raise UserError("missing RUN, the folder of a run; see manyparts report --help")
    if len(runs) > 1:
        path = _compared(options)
    else:
        from manyparts.report.html import write_report

        path = write_report(runs[0], options.output, evaluation=options.evaluation)
    say(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


def _compared(options: Options) -> Path:
    """Write and print the comparison of several runs."""
    from manyparts.cli.console import print_table
    from manyparts.models.run_files import run_of
    from manyparts.report.comparison import groups_of, table_of, write_comparison

    if options.evaluation is not None:
        raise UserError("--evaluation is for one run; several are compared by their validations")
    usual = run_of(options.runs[0]).parent / "comparison.html"
    path = write_comparison(
        options.runs, options.output or usual, measure=options.measure, score=options.score
    )
    groups = groups_of(options.runs)
    for environment in dict.fromkeys(group.environment for group in groups):
        own = [group for group in groups if group.environment == environment]
        heads, rows = table_of(own, options.measure, options.score)
        print_table(heads, rows, title=f"{environment}: means over seeds, and 95 % intervals")
    return path
