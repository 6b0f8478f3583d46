"""A study as one self-contained HTML page: claims, bars with intervals a setting, learning curves,
provenance."""

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
from manyparts.studies.engine.results import Row, StudyResult
from manyparts.studies.engine.stages import Evaluate, is_done, product
from manyparts.studies.engine.study import Measurement, Study

REPORT = "report.html"
_CURVE = "loss/behaviour_cloning"
_LINES = 6  # a chart has so many colours


def write_report(
    study: Study, measurements: Sequence[Measurement], result: StudyResult, output: Path
) -> Path:
    """Write OUTPUT/report.html and return its path."""
    path = output / REPORT
    parts = [
        f"<header><h1>study {escape(study.name)}, preset {escape(result.provenance['preset'])}</h1></header>",
        f"<p>{escape(study.description)}</p>",
        _missing(measurements, result),
        _claims(result),
        f"<h2>{escape(study.score.capitalize())}</h2>",
        *(_setting(study, result, setting) for setting in result.settings),
        _by_size(study, result),
        _beside_the_paper(study, result),
        _probes(result),
        _tasks(study, result),
        _curves(study, measurements, output),
        "<h2>How to read this</h2>",
        "".join(f"<p>{escape(note)}</p>" for note in [*_READING, *study.notes]),
        "<h2>Provenance</h2>",
        definitions(
            flatten({key: value for key, value in result.provenance.items() if key != "notes"})
        ),
        "<footer>Written by manyparts.</footer>",
    ]
    write_page(path, title=escape(f"study {study.name}"), body=parts)
    return path


_READING = (
    "Intervals are 95 %: Student's over training seeds (a seed is one agent), of differences Welch's; of a method with "
    "one seed over its episodes alone, which tells nothing of another training.",
    "P is the probability that a run of the reference beats a run of the row's method on a task drawn at random, ties "
    "counting half. A claim shows where the interval of the difference lies above 0, or above the points that the "
    "claim says, and not otherwise; the opposite shows where it lies below.",
    "Solved are the tasks with a score of at least .9. Steps and seconds are those of all the phases that lead to an "
    "agent; core hours are what these and the collection computed. results.json has more.",
)


def _missing(measurements: Sequence[Measurement], result: StudyResult) -> str:
    """What is not in the tables because its stages are not done."""
    measured = sum(len(row.seeds) for row in result.rows)
    if measured == len(measurements):
        return ""
    return f"<p><b>Not finished:</b> {measured} of {len(measurements)} measurements are done.</p>"


def _claims(result: StudyResult) -> str:
    """A group of rows for each claim, one a setting where it was measured."""
    if not result.verdicts:
        return ""
    heads = ["setting", "found", "difference", "P"]
    groups: dict[str, list[list[str]]] = {}
    for verdict in result.verdicts:
        found = result.comparison(verdict.better, verdict.worse, verdict.setting)
        if found is not None:
            compared = [_difference(found.difference), f"{found.probability.mean:.2f}"]
            groups.setdefault(verdict.words, []).append(
                [escape(verdict.setting), escape(verdict.verdict), *compared]
            )
    unmeasured = [
        words
        for words in dict.fromkeys(verdict.words for verdict in result.verdicts)
        if words not in groups
    ]
    rest = f"<p>Not measured: {escape('; '.join(unmeasured))}.</p>" if unmeasured else ""
    return "<h2>What is claimed, and what was found</h2>" + _table(heads, groups, numbers=2) + rest


def _setting(study: Study, result: StudyResult, setting: str) -> str:
    costs = ["seeds", "steps", "seconds", "core hours", "parameters"]
    compared = [f"{study.reference} less this", "P"] if result.compares(setting) else []
    heads = ["method", "", study.score, *compared, "solved", *costs]
    rows = [_row(study, result, row) for row in result.in_setting(setting)]
    return f"<h3>{escape(setting)}</h3>" + _table(heads, {"": rows}, numbers=2)


def _row(study: Study, result: StudyResult, row: Row) -> list[str]:
    found = result.comparison(study.reference, row.method, row.setting)
    compared = ["", ""] if result.compares(row.setting) else []
    if found is not None:
        compared = [_difference(found.difference), f"{found.probability.mean:.2f}"]
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


def _beside_the_paper(study: Study, result: StudyResult) -> str:
    """Our score and the paper's, where it reports one, and on how many trajectories each
    pretrained."""
    groups: dict[str, list[list[str]]] = {}
    for row in result.rows:
        if (row.method, row.setting) in study.published:
            theirs = f"{study.published[row.method, row.setting]:.2f}"
            cells = [escape(row.method), _score(row), theirs]
            if study.published_pretraining:
                sizes = [row.pretraining, study.published_pretraining.get(row.setting, "")]
                cells += ["", ""] if row.pretraining is None else map(str, sizes)
            groups.setdefault(row.setting, []).append(cells)
    if not groups:
        return ""
    heads = ["method", "ours", "the paper's"]
    if study.published_pretraining:
        heads += ["pretraining trajectories, ours", "the paper's"]
    return f"<h2>Beside the paper</h2>{_table(heads, groups, numbers=1)}"


def _by_size(study: Study, result: StudyResult) -> str:
    """The score by the number of demonstrations, and of pretraining trajectories, of methods
    measured with several."""
    charts = []
    for place in dict.fromkeys(row.place for row in result.rows):
        rows = [row for row in result.rows if row.place == place and row.demonstrations is not None]
        largest = max((row.pretraining or 0 for row in rows), default=0)
        at_largest = [row for row in rows if row.pretraining in (None, largest)]
        charts += _charts(
            study, place, at_largest, "demonstrations", lambda row: row.demonstrations
        )
        for shots in dict.fromkeys(row.demonstrations for row in rows):
            few = [row for row in rows if row.demonstrations == shots]
            label = f"pretraining trajectories, then {shots} demonstrations"
            charts += _charts(study, place, few, label, lambda row: row.pretraining)
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _charts(
    study: Study, place: str, rows: Sequence[Row], label: str, size: Callable[[Row], int | None]
) -> list[str]:
    """One for each group of methods of which some were measured at several sizes."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for row in sorted(rows, key=lambda row: size(row) or 0):
        if size(row) is not None:
            sizes, means = lines.setdefault(row.method, ([], []))
            sizes.append(float(size(row) or 0))
            means.append(row.mean)
    several = {method: line for method, line in lines.items() if len(line[0]) > 1}
    charts = []
    for title, methods in study.groups.items():
        shown = {method: several[method] for method in methods[:_LINES] if method in several}
        caption = ", ".join(word for word in (place, title.lower(), study.score) if word)
        if len(shown) >= min(2, len(methods)):  # one line compares nothing
            charts.append(line_chart(shown, {}, title=caption, x_label=label, y_limits=(0, 1)))
    return charts


def _probes(result: StudyResult) -> str:
    """What can be read off the representations: R^2 on episodes kept apart."""
    probed = [row for row in result.rows if row.probes]
    kinds = sorted({name for row in probed for name in row.probes})
    groups: dict[str, list[list[str]]] = {}
    first: dict[tuple[str, str, int | None], Row] = {}
    for row in probed:  # rows that differ in the number of demonstrations have one representation
        first.setdefault((row.place, row.method, row.pretraining), row)
    for row in first.values():
        name = (
            row.method
            if row.pretraining is None
            else f"{row.method}, {row.pretraining} trajectories"
        )
        cells = [f"{row.probes[kind]:.2f}" if kind in row.probes else "" for kind in kinds]
        groups.setdefault(row.place, []).append([escape(name), *cells])
    if not groups:
        return ""
    return (
        f"<h2>What the representation tells</h2>{_table(['method', *kinds], groups, numbers=1)}"
        "<p>R² of a linear map and of a small perceptron from a frame's embedding to the true state and to the goal, "
        "on demonstrations kept apart, a mean over dimensions: 1 is all, 0 what the mean tells.</p>"
    )


def _tasks(study: Study, result: StudyResult) -> str:
    """Success of the reference on each task, the best first; intervals are over episodes alone."""
    if study.score != "success":
        return ""
    parts = []
    for row in result.rows:
        if row.method != study.reference:
            continue
        episodes = row.episodes // len(row.tasks)
        found = sorted(row.tasks.items(), key=lambda item: -item[1])
        intervals = {task: wilson(round(mean * episodes), episodes) for task, mean in found}
        cells = [
            [
                escape(task),
                interval_bar(each.mean, each.low, each.high, width=90),
                f"{each.mean:.2f}",
            ]
            for task, each in intervals.items()
        ]
        table = _table(["task", "", "success"], {"": cells}, numbers=2)
        parts.append(
            f"<details><summary>{escape(row.setting)}: {row.solved} of {len(cells)} solved</summary>{table}"
        )
    return f"<h2>Each task under {escape(study.reference)}</h2>" + "</details>".join([*parts, ""])


def _curves(study: Study, measurements: Sequence[Measurement], output: Path) -> str:
    """The imitation loss of each method's last run, first seed; dashed on held-out episodes."""
    runs = {
        each.method: each.evaluations[0].run
        for each in reversed(measurements)
        if not each.demonstrations and isinstance(each.evaluations[0], Evaluate)
    }
    rows = {
        method: _metrics(product(run, output))
        for method, run in runs.items()
        if is_done(run, output)
    }
    if not any(_CURVE in row for found in rows.values() for row in found):
        return ""
    charts = [
        line_chart(
            {method: _line(rows[method], _CURVE) for method in methods[:_LINES] if method in rows},
            {
                method: _line(rows[method], _CURVE.replace("loss", "validation"))
                for method in methods
                if method in rows
            },
            title=f"{title}: imitation loss",
            x_label="step of the last phase",
        )
        for title, methods in study.groups.items()
    ]
    if not charts:
        return ""
    drawn = f'<div class="charts">{"".join(charts)}</div>'
    return f'<h2>Learning curves</h2>{drawn}<p class="soft">Dashed: on held-out episodes.</p>'


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def _line(rows: Sequence[Mapping[str, Any]], name: str) -> Line:
    found = [(float(row["step"]), float(row[name])) for row in rows if name in row]
    return [step for step, _ in found], [value for _, value in found]


def _difference(found: Any) -> str:
    return f'{found.mean:+.2f} <span class="interval">[{found.low:+.2f}, {found.high:+.2f}]</span>'


def _table(
    heads: Sequence[str], groups: Mapping[str, Sequence[Sequence[str]]], *, numbers: int
) -> str:
    """Cells are HTML; a column without a name gives way in a narrow window. groups: rows by the
    name above them. numbers: the column from which on cells are numbers."""
    kinds = [
        "number" if index >= numbers else "" if name else "spare"
        for index, name in enumerate(heads)
    ]
    head = "".join(
        f'<th class="{kind}">{escape(name)}</th>' for kind, name in zip(kinds, heads, strict=True)
    )
    lines = []
    for name, rows in groups.items():
        lines += (
            [f'<tr class="group"><th colspan="{len(heads)}"><span>{escape(name)}</span></th></tr>']
            if name
            else []
        )
        lines += [
            "".join(
                [
                    "<tr>",
                    *(
                        f'<td class="{kind}">{cell}</td>'
                        for kind, cell in zip(kinds, row, strict=True)
                    ),
                    "</tr>",
                ]
            )
            for row in rows
        ]
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
