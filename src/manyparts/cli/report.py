"""`manyparts report`: one self-contained HTML file of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from manyparts.cli.parsing import parse
from manyparts.core.printing import say


@dataclass(frozen=True)
class Options:
    """Write what a run can do into one HTML file, light enough to mail: success, curves, videos,
    provenance."""

    run: Positional[Path]
    """A run folder that was evaluated (`manyparts evaluate RUN --videos 2`)."""

    output: Path | None = None
    """The file to write; None: RUN/report.html."""

    evaluation: Path | None = None
    """The folder that the run was evaluated into (`manyparts evaluate RUN --output`); None:
    RUN/evaluation."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="report")
    from manyparts.report.html import write_report

    path = write_report(options.run, options.output, evaluation=options.evaluation)
    say(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
