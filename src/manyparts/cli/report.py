"""`manyparts report`: one self-contained HTML file of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.printing import say


@dataclass(frozen=True)
class Options:
    """Write what a run can do into one HTML file, small enough to mail: success, learning curves,
    videos, provenance, and the commands that make it again."""

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """A run or checkpoint folder that was evaluated, such as with `manyparts evaluate RUN --videos
    2`, or the name of an agent that comes with the package."""

    output: Path | None = None
    """The file to write; if left out, RUN/report.html."""

    evaluation: Path | None = None
    """The folder that the run was evaluated into, if that is not RUN/evaluation."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts report`, and return its exit code."""
    options = parse(Options, arguments, command="report")
    from manyparts.report.html import write_report

    path = write_report(options.run, options.output, evaluation=options.evaluation)
    say(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
