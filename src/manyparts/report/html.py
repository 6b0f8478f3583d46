"""A run in one self-contained HTML file: success with intervals, learning curves, videos,
provenance, commands."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from string import Template

from manyparts.core.arguments import explained, path_of
from manyparts.core.errors import SurroundingsWarning
from manyparts.core.storage.atomic import make_folder, write_atomically
from manyparts.models.run_files import results_folder
from manyparts.report import sections
from manyparts.report.evidence import gather, outdated

_TEMPLATE = Path(__file__).with_name("report.html")


@explained()
def write_report(
    run: str | Path, output: str | Path | None = None, *, evaluation: str | Path | None = None
) -> Path:
    """Write the report of a run, and return its path.

    Args:
        run: a run folder, one of its checkpoints, or the name of an agent that comes with the
            package. Results of `evaluate`, of `study_prompts` or of both are shown.
        output: the file to write; None: RUN/report.html, of a checkpoint RUN/report-STEP.html.
        evaluation: the folder of its results; None: RUN/evaluation, of a checkpoint
            RUN/evaluation-STEP.

    Raises:
        UserError: the run was not evaluated, or one of its files cannot be read.
    """
    run = path_of(run, "run")
    evidence = gather(run, None if evaluation is None else path_of(evaluation, "evaluation"))
    usual = results_folder(run, "report")
    path = usual.with_name(f"{usual.name}.html") if output is None else path_of(output, "output")
    if remark := outdated(evidence):
        warnings.warn(remark, SurroundingsWarning, stacklevel=2)
    make_folder(path.parent)
    write_page(path, title=sections.title(evidence), body=sections.body(evidence))
    return path


def write_page(path: Path, *, title: str, body: Sequence[str]) -> None:
    """Write one self-contained HTML file, all of it or nothing.

    Args:
        path: the file.
        title: HTML, escaped where it comes from a file.
        body: the same, in parts.
    """
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=title, body="\n".join(body)
    )
    write_atomically(path, page.encode())
