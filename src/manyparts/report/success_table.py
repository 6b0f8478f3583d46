"""The table of success by task of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from manyparts.evaluation.record import UNKNOWN
from manyparts.evaluation.results import Result
from manyparts.evaluation.statistics import Interval
from manyparts.report.svg import interval_bar


def success_table(result: Result) -> str:
    """One row per task, and the mean over tasks."""
    own, bounds = result.metrics, result.known != result.tasks
    rows = [
        _task_row(escape(task).replace("/", "/<wbr>"), measures, own, bounds=bounds)
        for task, measures in result.per_task.items()
    ]
    if len(rows) > 1:
        rows.append(_task_row("mean over tasks", result.aggregate, own, bounds=bounds, kind="mean"))
    heads = ["task", "", "at any step", "at the last", *map(escape, own), "return", "steps"]
    classes = [
        "",
        "spare",
        "number",
        "number",
        *["number"] * len(own),
        "number spare",
        "number spare",
    ]
    head = "".join(
        f'<th class="{kind}">{name}</th>' for name, kind in zip(heads, classes, strict=True)
    )
    table = (
        f'<table id="success"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )
    return f'<div class="wide">{table}</div>'


def _task_row(
    name: str,
    measures: Mapping[str, Interval],
    metrics: Sequence[str],
    *,
    bounds: bool,
    kind: str = "task",
) -> str:
    bar, solved, at_the_end = "", UNKNOWN, UNKNOWN
    if (success := measures.get("success_any")) is not None:
        bar = interval_bar(success.mean, success.low, success.high)
        solved, at_the_end = _with_interval(success), percent(measures["success_last"].mean)
    own = [f'<td class="number">{_measure(measures.get(metric))}</td>' for metric in metrics]
    return (
        f'<tr class="{kind}"><td>{name}</td><td class="spare">{bar}</td>'
        f'<td class="number">{solved}</td>'
        f'<td class="number">{at_the_end}</td>{"".join(own)}'
        f'<td class="number spare">{_average(measures["return"], ".4g", bounds)}</td>'
        f'<td class="number spare">{_average(measures["length"], ".0f", bounds)}</td></tr>'
    )


def _with_interval(success: Interval) -> str:
    bounds = f"[{100 * success.low:.0f}, {100 * success.high:.0f}]"
    return f'{percent(success.mean)} <span class="interval">{bounds}</span>'


def _average(estimate: Interval, form: str, with_bounds: bool) -> str:
    mean = f"{estimate.mean:{form}}"
    if not with_bounds:
        return mean
    bounds = f"[{estimate.low:.4g}, {estimate.high:.4g}]"
    return f'{mean} <span class="interval">{bounds}</span>'


def _measure(estimate: Interval | None) -> str:
    """A suite's own measure in its own unit; empty where a task has none."""
    if estimate is None:
        return ""
    bounds = f"[{estimate.low:.2f}, {estimate.high:.2f}]"
    return f'{estimate.mean:.2f} <span class="interval">{bounds}</span>'


def percent(fraction: float) -> str:
    """A fraction for people, such as "87 %"."""
    return f"{100 * fraction:.0f} %"
