"""A run in one self-contained HTML file: success with intervals, learning curves, videos, provenance, commands."""

from __future__ import annotations

from pathlib import Path
from string import Template

from understudy.evaluation import report_sections as sections
from understudy.evaluation.evidence import gather
from understudy.rollout.claim import write_atomically

_TEMPLATE = Path(__file__).with_name("report.html")


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of an evaluated run to `output` (None: RUN/report.html) and return its path.

    Raises UserError if the run was not evaluated or one of its files cannot be read.
    """
    run = Path(run)
    evidence = gather(run)
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=sections.title(evidence), body="\n".join(sections.body(evidence))
    )
    path = run / "report.html" if output is None else Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())
    return path
