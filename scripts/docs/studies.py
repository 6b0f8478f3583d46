"""The page of studies: what each asks, at which sizes, of which methods, and what it claims."""

from __future__ import annotations

from pages import cell, code, page, table

from manyparts.studies import STUDIES, find_study
from manyparts.studies.engine.study import Measurement, Study, methods_of, stages_of

INTRODUCTION = """
```bash
manyparts list studies
manyparts study dualmind-laptop --list       # every stage, and whether it is done
```

A study is a declared list of runs that answers a question.
[Run a study](../../how-to/run-a-study.md) says how, and [Study results](../studies.md) what it
leaves on disk.
"""


def render() -> str:
    """The page."""
    studies = [find_study(name) for name in STUDIES]
    rows = [_overview(name, study) for name, study in zip(STUDIES, studies, strict=True)]
    overview = table(("study", "sizes", "seeds", "score", "methods"), rows)
    sections = [
        section
        for name, study in zip(STUDIES, studies, strict=True)
        for section in _section(name, study)
    ]
    return page("All studies", INTRODUCTION, [overview, *sections])


def _overview(name: str, study: Study) -> tuple[str, ...]:
    sizes = ", ".join(code(preset) for preset in study.presets)
    return (
        f"[{name}](#{name})",
        sizes,
        str(study.seeds),
        cell(study.score),
        str(len(methods_of(_measured(study)))),
    )


def _measured(study: Study) -> list[Measurement]:
    """Those of the laptop's size, or of the first."""
    return study.measurements(
        "laptop" if "laptop" in study.presets else study.presets[0], study.seeds
    )


def _section(name: str, study: Study) -> list[str]:
    measured = _measured(study)
    parts = [f"## {name}", " ".join(study.description.split())]
    stages = len(stages_of(measured))
    counts = f"{len(measured)} measurements and {stages} stages with {study.seeds} seeds"
    settings = list(dict.fromkeys(measurement.setting for measurement in measured))
    shown = (
        f"{'; '.join(settings[:6])}{f'; and {len(settings) - 6} more' if len(settings) > 6 else ''}"
    )
    facts = [
        ("reference", cell(study.reference)),
        ("methods", cell("; ".join(methods_of(measured)))),
    ]
    facts += [("settings", cell(shown)), ("at laptop size", counts)]
    parts.append(table(("", ""), facts))
    if study.claims:
        rows = [
            (cell(claim.words), cell(claim.better), cell(claim.worse), f"{claim.margin:g}")
            for claim in study.claims
        ]
        parts.append(table(("claim", "better", "worse", "margin"), rows))
    if study.notes:
        parts.append("\n".join(f"- {cell(note)}" for note in study.notes))
    return parts
