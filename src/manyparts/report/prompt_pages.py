"""The section of a report that shows how far success follows the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from manyparts.core.printing import counted
from manyparts.evaluation.prompt_results import PromptStudy
from manyparts.evaluation.statistics import Interval
from manyparts.report.svg import interval_bar

_READING = (
    '<p class="soft">A frame marks a task\'s own prompt. An agent that follows prompts succeeds '
    "there and nowhere else in the row. If all rows are equal, the scene alone decides what the "
    "agent does. Small figures are 95 % intervals.</p>"
)


def prompts(study: PromptStudy | None) -> list[str]:
    """The section's parts; none without a study."""
    if study is None:
        return []
    each = f"{counted(study.episodes, 'episode')} per task and prompt"
    parts = [
        "<h2>What the prompt changes</h2>",
        f"<p>Success at any step, {each}.</p>",
        _kinds(study),
    ]
    return [*parts, *_matrix(study)] if len(study.matrix) > 1 else parts


def _kinds(study: PromptStudy) -> str:
    rows = []
    for kind, success in study.kinds.items():
        bar = interval_bar(success.mean, success.low, success.high)
        bounds = f'<span class="interval">{_bounds(success)}</span>'
        rows.append(
            f"<tr><td>{escape(kind.replace('_', ' ').replace('+', ' + '))}</td>"
            f'<td class="spare">{bar}</td>'
            f'<td class="number">{_percent(success)} {bounds}</td></tr>'
        )
    head = '<tr><th>prompt</th><th class="spare"></th><th class="number">success</th></tr>'
    table = f'<table id="prompts"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _matrix(study: PromptStudy) -> list[str]:
    """Success by the prompt's task (rows) and the scene's task (columns), as a heat map."""
    scenes = list(next(iter(study.matrix.values())))
    heads = "".join(f"<th>{_name(scene)}</th>" for scene in scenes)
    rows = []
    for task, row in study.matrix.items():
        cells = "".join(_cell(row[scene], own=task == scene) for scene in scenes)
        rows.append(f"<tr><td>{_name(task)}</td>{cells}</tr>")
    head = f"<thead><tr><th>prompt, in scenes of</th>{heads}</tr></thead>"
    table = f'<table class="heat">{head}<tbody>{"".join(rows)}</tbody></table>'
    return [
        f"<h3>Prompts of another task, by {escape(study.matrix_with.replace('_', ' '))}</h3>",
        f"<p>{_summary(study.matrix)}</p>",
        f'<div class="wide">{table}</div>',
        _READING,
    ]


def _summary(matrix: Mapping[str, Mapping[str, Interval]]) -> str:
    own, other = [], []
    for task, row in matrix.items():
        for scene, success in row.items():
            (own if task == scene else other).append(success.mean)
    return (
        f"Mean success {100 * np.mean(own):.0f} % with the prompt of the scene's task, "
        f"{100 * np.mean(other):.0f} % with that of another."
    )


def _cell(success: Interval, *, own: bool) -> str:
    kind = "cell own" if own else "cell"
    return (
        f'<td class="{kind}" style="--share:{success.mean:.2f}">{_percent(success)}'
        f"<small>{_bounds(success)}</small></td>"
    )


def _name(task: str) -> str:
    """Without the suite, which usually is the same for all tasks."""
    return escape(task.partition("/")[2] or task)


def _percent(success: Interval) -> str:
    return f"{100 * success.mean:.0f} %"


def _bounds(success: Interval) -> str:
    return f"[{100 * success.low:.0f}, {100 * success.high:.0f}]"
