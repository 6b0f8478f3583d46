"""A study as one HTML page: claims, scores per setting, learning curves, provenance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from manyparts.core.serialisation import flatten
from manyparts.evaluation.statistics import wilson
from manyparts.report.html import write_page
from manyparts.report.sections import definitions
from manyparts.report.svg import Line, interval_bar, line_chart
from manyparts.studies.engine import curves
from manyparts.studies.engine.results import Comparison, Row, StudyResult
from manyparts.studies.engine.stages import Evaluate, is_done, product
from manyparts.studies.engine.study import Measurement, Study

REPORT = "report.html"
_CURVE = "loss/behaviour_cloning"
_MAX_LINES = 6  # per chart: there are no more colours


def write_report(
    study: Study, measurements: Sequence[Measurement], result: StudyResult, output: Path
) -> Path:
    """Write OUTPUT/report.html and return its path.

    Args:
        study: The study.
        measurements: Those of the preset.
        result: The results of those that are finished.
        output: The study's folder.
    """
    path, preset = output / REPORT, escape(result.provenance["preset"])
    provenance = {key: value for key, value in result.provenance.items() if key != "notes"}
    parts = [
        f"<header><h1>study {escape(study.name)}, preset {preset}</h1></header>",
        f"<p>{escape(study.description)}</p>",
        _missing(measurements, result),
        _claims(result),
        f"<h2>{escape(study.score.capitalize())}</h2>",
        *(_setting(study, result, setting) for setting in result.settings),
        _learning(study, measurements, output),
        _by_size(study, result),
        _compared_with_paper(study, result),
        _probes(result),
        _tasks(study, result),
        _curves(study, measurements, output),
        "<h2>How to read this</h2>",
        "".join(f"<p>{escape(note)}</p>" for note in [*_READING, *study.notes]),
        "<h2>Provenance</h2>",
        definitions(flatten(provenance)),
        "<footer>Written by manyparts.</footer>",
    ]
    write_page(path, title=escape(f"study {study.name}"), body=parts)
    return path


_READING = (
    "Intervals are 95 %: Student's over training seeds (a seed is one agent), Welch's for "
    "differences. With one seed the interval is over its episodes alone, and says nothing about "
    "another training.",
    "P is the probability that a run of the reference beats a run of the row's method on a task "
    'drawn at random, ties counting half. The verdict on a claim is "shows" where the interval of '
    'the difference lies above 0, or above the margin that the claim names. It is "opposite" where '
    'the interval lies below, and "not told apart" where it holds 0 or the margin.',
    "A task counts as solved with a score of at least 0.9. Steps and seconds are those of all "
    "phases that lead to an agent. Core hours are what these and the collection computed. "
    "results.json has more.",
)


def _missing(measurements: Sequence[Measurement], result: StudyResult) -> str:
    """Say how much is not in the tables, because its stages are not done."""
    measured = sum(len(row.seeds) for row in result.rows)
    if measured == len(measurements):
        return ""
    return f"<p><b>Not finished:</b> {measured} of {len(measurements)} measurements are done.</p>"


def _claims(result: StudyResult) -> str:
    """Make a table with a group of rows per claim, a row per setting where it was measured."""
    if not result.verdicts:
        return ""
    heads = ["setting", "verdict", "difference", "P"]
    groups: dict[str, list[list[str]]] = {}
    for verdict in result.verdicts:
        comparison = result.comparison(verdict.better, verdict.worse, verdict.setting)
        if comparison is not None:
            cells = [escape(verdict.setting), escape(verdict.verdict), *_compared(comparison)]
            groups.setdefault(verdict.words, []).append(cells)
    claims = dict.fromkeys(verdict.words for verdict in result.verdicts)
    untested = [words for words in claims if words not in groups]
    rest = f"<p>Not tested: {escape('; '.join(untested))}.</p>" if untested else ""
    return "<h2>Claims and verdicts</h2>" + _table(heads, groups, numbers=2) + rest


def _setting(study: Study, result: StudyResult, setting: str) -> str:
    costs = ["seeds", "steps", "seconds", "core hours", "parameters"]
    compared = [f"{study.reference} minus this", "P"] if result.compares(setting) else []
    heads = ["method", "", study.score, *compared, "solved", *costs]
    rows = [_row(study, result, row) for row in result.in_setting(setting)]
    return f"<h3>{escape(setting)}</h3>" + _table(heads, {"": rows}, numbers=2)


def _row(study: Study, result: StudyResult, row: Row) -> list[str]:
    comparison = result.comparison(study.reference, row.method, row.setting)
    if comparison is not None:
        compared = _compared(comparison)
    else:
        compared = ["", ""] if result.compares(row.setting) else []
    bar = interval_bar(row.mean, row.low, row.high, width=90)
    cost = [len(row.seeds), row.training_steps, f"{row.train_seconds:.0f}", f"{row.core_hours:.2f}"]
    solved = f"{row.solved} of {len(row.tasks)}"
    return [
        escape(row.method),
        bar,
        _score(row),
        *compared,
        solved,
        *map(str, cost),
        f"{row.parameters / 1e6:.3g} M",
    ]


def _score(row: Row) -> str:
    return f'{row.mean:.2f} <span class="interval">[{row.low:.2f}, {row.high:.2f}]</span>'


def _compared_with_paper(study: Study, result: StudyResult) -> str:
    """Make a table of the scores here and in the paper, with the trajectories of pretraining."""
    groups: dict[str, list[list[str]]] = {}
    for row in result.rows:
        if (row.method, row.setting) in study.published:
            published = f"{study.published[row.method, row.setting]:.2f}"
            cells = [escape(row.method), _score(row), published]
            if study.published_pretraining and row.pretraining is None:
                cells += ["", ""]
            elif study.published_pretraining:
                published_size = study.published_pretraining.get(row.setting, "")
                cells += [str(row.pretraining), str(published_size)]
            groups.setdefault(row.setting, []).append(cells)
    if not groups:
        return ""
    heads = ["method", "here", "in the paper"]
    if study.published_pretraining:
        heads += ["pretraining trajectories here", "in the paper"]
    return f"<h2>Compared with the paper</h2>{_table(heads, groups, numbers=1)}"


def _learning(study: Study, measurements: Sequence[Measurement], output: Path) -> str:
    """Make tables and charts of the learning curves of runs that acted."""
    if study.curves is None:
        return ""
    rows = curves.gather_curves(study, measurements, output)
    parts: list[str] = []
    for setting in dict.fromkeys(row.setting for row in rows):
        here = [row for row in rows if row.setting == setting]
        lines = [[escape(cell) for cell in curves.cells(row)] for row in here]
        heads = curves.heads(study, here[0])
        parts.append(f"<h3>{escape(setting)}</h3>" + _table(heads, {"": lines}, numbers=1))
    if not parts:
        return ""
    note = (
        "Returns are fractions of the full one, at environment steps, a mean over tasks and seeds. "
        "Steps to a score are a mean over seeds, in which a run that does not get there counts "
        "with its budget. In brackets is how many got there."
    )
    drawn = f'<div class="charts">{curves.charts(study, rows)}</div>'
    return f'<h2>While learning</h2>{"".join(parts)}<p class="soft">{note}</p>{drawn}'


def _by_size(study: Study, result: StudyResult) -> str:
    """Draw scores by the number of demonstrations, and of pretraining trajectories."""
    charts: list[str] = []
    for environment in dict.fromkeys(row.environment for row in result.rows):
        rows = [
            row
            for row in result.rows
            if row.environment == environment and row.demonstrations is not None
        ]
        largest = max((row.pretraining or 0 for row in rows), default=0)
        at_largest = [row for row in rows if row.pretraining in (None, largest)]
        label = "demonstrations"
        charts += _charts(study, environment, at_largest, label, lambda row: row.demonstrations)
        for count in dict.fromkeys(row.demonstrations for row in rows):
            of_count = [row for row in rows if row.demonstrations == count]
            label = f"pretraining trajectories, then {count} demonstrations"
            charts += _charts(study, environment, of_count, label, lambda row: row.pretraining)
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _charts(
    study: Study,
    environment: str,
    rows: Sequence[Row],
    label: str,
    size: Callable[[Row], int | None],
) -> list[str]:
    """Draw a chart per group of methods of which some were measured at several sizes."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for row in sorted(rows, key=lambda row: size(row) or 0):
        if size(row) is not None:
            sizes, means = lines.setdefault(row.method, ([], []))
            sizes.append(float(size(row) or 0))
            means.append(row.mean)
    several = {method: line for method, line in lines.items() if len(line[0]) > 1}
    charts = []
    for title, methods in study.groups.items():
        shown = {method: several[method] for method in methods[:_MAX_LINES] if method in several}
        caption = ", ".join(word for word in (environment, title.lower(), study.score) if word)
        if len(shown) >= min(2, len(methods)):  # one line compares nothing
            charts.append(line_chart(shown, {}, title=caption, x_label=label, y_limits=(0, 1)))
    return charts


def _probes(result: StudyResult) -> str:
    """Make a table of how well the state is predicted from the representations (R²)."""
    kinds: set[str] = set()
    rows: dict[tuple[str, str, int | None], Row] = {}
    for row in result.rows:
        if row.probes:
            kinds |= row.probes.keys()
            # Rows that differ only in the number of demonstrations have one representation.
            rows.setdefault((row.environment, row.method, row.pretraining), row)
    columns = sorted(kinds)
    groups: dict[str, list[list[str]]] = {}
    for row in rows.values():
        name = row.method
        if row.pretraining is not None:
            name += f", {row.pretraining} trajectories"
        cells = [f"{row.probes[kind]:.2f}" if kind in row.probes else "" for kind in columns]
        groups.setdefault(row.environment, []).append([escape(name), *cells])
    if not groups:
        return ""
    table = _table(["method", *columns], groups, numbers=1)
    return (
        f"<h2>What the representation holds</h2>{table}"
        "<p>R² of a linear map and of a small perceptron from a frame's embedding to the "
        "simulator's state and to the goal, on held-out demonstrations, a mean over dimensions: 1 "
        "is perfect, 0 is as good as the mean.</p>"
    )


def _tasks(study: Study, result: StudyResult) -> str:
    """Make tables of the reference's success on each task, the best first.

    Intervals are over episodes alone.
    """
    if study.score != "success":
        return ""
    parts = []
    for row in result.rows:
        if row.method != study.reference:
            continue
        episodes = row.episodes // len(row.tasks)
        cells = []
        for task, mean in sorted(row.tasks.items(), key=lambda item: -item[1]):
            success = wilson(round(mean * episodes), episodes)
            bar = interval_bar(success.mean, success.low, success.high, width=90)
            cells.append([escape(task), bar, f"{success.mean:.2f}"])
        table = _table(["task", "", "success"], {"": cells}, numbers=2)
        summary = f"{escape(row.setting)}: {row.solved} of {len(cells)} solved"
        parts.append(f"<details><summary>{summary}</summary>{table}")
    return f"<h2>Each task under {escape(study.reference)}</h2>" + "</details>".join([*parts, ""])


def _curves(study: Study, measurements: Sequence[Measurement], output: Path) -> str:
    """Draw the imitation loss of each method's last run, of the first seed."""
    runs = {}
    for measurement in reversed(measurements):  # so that the first seed stays
        evaluation = measurement.evaluations[0]
        if not measurement.demonstrations and isinstance(evaluation, Evaluate):
            runs[measurement.method] = evaluation.run
    metrics = {
        method: _metrics(product(run, output))
        for method, run in runs.items()
        if is_done(run, output)
    }
    if not any(_line(rows, _CURVE)[0] for rows in metrics.values()):
        return ""
    charts = []
    for title, methods in study.groups.items():
        measured = [method for method in methods if method in metrics]
        held_out = _CURVE.replace("loss", "validation")
        chart = line_chart(
            {
                method: _line(metrics[method], _CURVE)
                for method in methods[:_MAX_LINES]
                if method in metrics
            },
            {method: _line(metrics[method], held_out) for method in measured},
            title=f"{title}: imitation loss",
            x_label="step of the last phase",
        )
        charts.append(chart)
    if not charts:
        return ""
    drawn = f'<div class="charts">{"".join(charts)}</div>'
    return f'<h2>Learning curves</h2>{drawn}<p class="soft">Dashed: on held-out episodes.</p>'


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _line(rows: Sequence[Mapping[str, Any]], name: str) -> Line:
    points = [(float(row["step"]), float(row[name])) for row in rows if name in row]
    return [step for step, _ in points], [value for _, value in points]


def _compared(comparison: Comparison) -> list[str]:
    """Return the cells of a comparison: the difference with its interval, and P."""
    less = comparison.difference
    interval = f'<span class="interval">[{less.low:+.2f}, {less.high:+.2f}]</span>'
    return [f"{less.mean:+.2f} {interval}", f"{comparison.probability.mean:.2f}"]


def _table(
    heads: Sequence[str], groups: Mapping[str, Sequence[Sequence[str]]], *, numbers: int
) -> str:
    """Make a table.

    Args:
        heads: Names of the columns; one without a name is hidden in a narrow window.
        groups: The name above some rows to these rows; cells are HTML.
        numbers: The index of the first column that holds numbers.
    """
    classes = ["" if name else "spare" for name in heads[:numbers]]
    classes += ["number"] * (len(heads) - numbers)

    def row(tag: str, cells: Sequence[str]) -> str:
        marked = zip(classes, cells, strict=True)
        return "".join(f'<{tag} class="{name}">{cell}</{tag}>' for name, cell in marked)

    lines = []
    for name, rows in groups.items():
        if name:
            title = f'<th colspan="{len(heads)}"><span>{escape(name)}</span></th>'
            lines.append(f'<tr class="group">{title}</tr>')
        lines += [f"<tr>{row('td', cells)}</tr>" for cells in rows]
    head = f"<thead><tr>{row('th', [escape(name) for name in heads])}</tr></thead>"
    body = f"<tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table>{head}{body}</table></div>'
