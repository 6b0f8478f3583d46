"""A run in one self-contained HTML file: success with intervals, learning curves, videos, provenance, commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from manyparts.arguments import explained, path_of
from manyparts.claim import write_atomically
from manyparts.evaluation import report_sections as sections
from manyparts.evaluation.evidence import gather

_TEMPLATE = Path(__file__).with_name("report.html")


@explained()
def write_report(run: str | Path, output: str | Path | None = None, *, evaluation: str | Path | None = None) -> Path:
    """Write the report of an evaluated run to `output` (None: RUN/report.html) and return its path. evaluation: the
    folder of its results (None: RUN/evaluation).

    Raises UserError if the run was not evaluated or one of its files cannot be read.
    """
    run = path_of(run, "run")
    evidence = gather(run, None if evaluation is None else path_of(evaluation, "evaluation"))
    path = run / "report.html" if output is None else path_of(output, "output")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, title=sections.title(evidence), body=sections.body(evidence))
    return path


def write_page(path: Path, *, title: str, body: Sequence[str]) -> None:
    """One self-contained HTML file, all of it or nothing. title, body: HTML, escaped where it comes from a file."""
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(title=title, body="\n".join(body))
    write_atomically(path, page.encode())
