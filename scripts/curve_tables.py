"""The tables and charts of a results page, of a study of runs that act.

python scripts/curve_tables.py NAME SOURCE [IMAGES]

NAME: the study. SOURCE: its folder, or its archive. It prints the tables in Markdown, and draws the
learning curves of each setting into the folder IMAGES, if there is one.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from manyparts.evaluation.statistics import bounded
from manyparts.report.acted import WEIGHT
from manyparts.studies import find_study
from manyparts.studies.engine.curves import CurveRow, cells, gather_curves, heads
from manyparts.studies.engine.results import StudyResult, gather
from manyparts.studies.engine.scores import finished, metrics_of
from manyparts.studies.engine.stages import Evaluate, Export, TrainOnline
from manyparts.studies.engine.study import Measurement, Study

COLOURS = ("#c04a00", "#1f5fa8", "#2f7d32", "#7b3fa0", "#a08000", "#555555")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 520, 300, 46, 28, 34, 190  # pixels


def tables(study: Study, measurements: Sequence[Measurement], preset: str, output: Path) -> str:
    """Return all tables in Markdown: for each setting the scores, then the curves.

    Args:
        study: The study.
        measurements: Those of the preset.
        preset: Its name.
        output: The study's folder.
    """
    result = gather(study, preset, measurements, output)
    curves = gather_curves(study, measurements, output)
    parts: list[str] = []
    for setting in result.settings:
        here = [row for row in curves if row.setting == setting]
        parts += [f"## {setting}", _scores(study, result, setting)]
        if here:
            parts.append(_table(heads(study, here[0]), [cells(row) for row in here]))
        weights = teachers(measurements, setting, output)
        if weights:
            names = list(dict.fromkeys(name for each in weights.values() for name in each))
            rows = [
                [method, *(f"{each[name]:.2f}" if name in each else "" for name in names)]
                for method, each in weights.items()
            ]
            parts.append(_table(["mean weight at the end", *names], rows))
    verdicts = [
        [verdict.setting, verdict.words, verdict.verdict]
        for verdict in result.verdicts
        if verdict.verdict != "not tested"
    ]
    parts += ["## Verdicts", _table(["setting", "claim", "verdict"], verdicts)]
    return "\n\n".join(parts)


def _scores(study: Study, result: StudyResult, setting: str) -> str:
    rows: list[list[str]] = []
    for row in result.in_setting(setting):
        compared = result.comparison(row.method, study.reference, setting)
        reverse = result.comparison(study.reference, row.method, setting)
        cell, probability = "", ""
        if compared is not None:
            cell = bounded(compared.difference, signed=True)
            probability = f"{compared.probability.mean:.2f}"
        elif reverse is not None:
            less = reverse.difference
            cell = f"{-less.mean:+.2f} [{-less.high:+.2f}, {-less.low:+.2f}]"
            probability = f"{1 - reverse.probability.mean:.2f}"
        counts = [str(len(row.seeds)), f"{row.core_hours:.2f}"]
        rows.append([row.method, bounded(row), cell, probability, *counts])
    less_reference = f"minus {study.reference}"
    return _table(["", study.score, less_reference, "P", "seeds", "core hours"], rows)


def teachers(
    measurements: Sequence[Measurement], setting: str, output: Path
) -> Mapping[str, Mapping[str, float]]:
    """Return method to the last weight of each of its teachers, a mean over tasks and seeds.

    Args:
        measurements: Of the study.
        setting: The setting's name.
        output: The study's folder.
    """
    weights: dict[str, dict[str, float]] = {}
    for method, seeds in finished(measurements, setting, output).items():
        sums: dict[str, list[float]] = {}
        for run in _runs(seeds):
            last = metrics_of(run, output)[-1]
            found = [value for name, value in last.items() if name.startswith(WEIGHT)]
            # Weights stand in the order of the teachers.
            for name, value in zip(map(_source, _sources(run)), found, strict=bool(found)):
                sums.setdefault(name, []).append(value)
        if sums:
            weights[method] = {name: float(np.mean(values)) for name, values in sums.items()}
    return weights


def _runs(seeds: Sequence[Measurement]) -> Iterator[TrainOnline]:
    for measurement in seeds:
        for evaluation in measurement.evaluations:
            if isinstance(evaluation, Evaluate) and isinstance(evaluation.run, TrainOnline):
                yield evaluation.run


def _sources(run: TrainOnline) -> tuple[object, ...]:
    data = None if run.teachers is None else run.teachers.data
    return tuple(getattr(data, "datasets", ()))


def _source(data: object) -> str:
    """Return the task of a source."""
    task = data.run.task if isinstance(data, Export) else data.tasks[0]  # type: ignore[attr-defined]
    return task.partition("/")[2]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(title: str, rows: Sequence[CurveRow]) -> str:
    """Return the learning curves of some methods as SVG, with their intervals.

    Args:
        title: Above the chart.
        rows: One per method, at most six.
    """
    last = max(row.steps[-1] for row in rows)
    top = max(1.0, *(max(row.high or row.mean) for row in rows))
    low = min(0.0, *(min(row.low or row.mean) for row in rows))
    inside, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def point(step: float, value: float) -> str:
        across, up = step / last, (value - low) / (top - low)
        return f"{LEFT + across * inside:.1f} {TOP + (1 - up) * height:.1f}"

    parts = [f'<text x="{LEFT}" y="16" font-weight="600">{escape(title)}</text>']
    for value in (low, (low + top) / 2, top):
        left, right = point(0, value), point(last, value)
        across, down = left.split()
        parts.append(f'<path stroke="#ddd" d="M{left}L{right}"/>')
        parts.append(
            f'<text x="{float(across) - 6:.0f}" y="{float(down) + 4:.0f}" text-anchor="end">'
            f"{value:.2g}</text>"
        )
    parts.append(
        f'<text x="{LEFT + inside}" y="{HEIGHT - 8}" text-anchor="end">'
        f"{last:.0f} environment steps</text>"
    )
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        if row.low:
            edge = [*zip(row.steps, row.high, strict=True)]
            edge += [*zip(row.steps, row.low, strict=True)][::-1]
            area = "L".join(point(*each) for each in edge)
            parts.append(f'<path fill="{colour}" fill-opacity="0.12" d="M{area}Z"/>')
        line = "L".join(point(*each) for each in zip(row.steps, row.mean, strict=True))
        parts.append(f'<path fill="none" stroke="{colour}" stroke-width="2" d="M{line}"/>')
        x, y = LEFT + inside + 12, TOP + 8 + 18 * number
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{escape(row.method)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="system-ui,sans-serif" '
        f'font-size="12" fill="#222"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def charts(
    study: Study, measurements: Sequence[Measurement], output: Path
) -> Iterator[tuple[str, str]]:
    """Yield the file name and the SVG of each setting and group of methods.

    Args:
        study: The study.
        measurements: Those of the preset.
        output: The study's folder.
    """
    curves = gather_curves(study, measurements, output)
    for setting in dict.fromkeys(row.setting for row in curves):
        for title, methods in study.groups.items():
            rows = [row for row in curves if row.setting == setting and row.method in methods]
            if len(rows) > 1:
                words = f"{study.name} {setting} {title}".lower().replace(",", "")
                yield f"{'-'.join(words.split())}.svg", draw(f"{setting}: {title.lower()}", rows)


def main(arguments: Sequence[str]) -> None:
    name, source, *images = arguments
    study = find_study(name)
    measurements = study.measurements("laptop", study.seeds)
    with tempfile.TemporaryDirectory() as unpacked:
        output = Path(source)
        if output.is_file():
            with tarfile.open(output) as archive:
                archive.extractall(unpacked, filter="data")
            output = Path(unpacked)
        print(tables(study, measurements, "laptop", output))
        for folder in map(Path, images):
            folder.mkdir(parents=True, exist_ok=True)
            for file, drawn in charts(study, measurements, output):
                (folder / file).write_text(drawn)


if __name__ == "__main__":
    main(sys.argv[1:])
