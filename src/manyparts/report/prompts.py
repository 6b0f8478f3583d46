"""The section of a report that tells how far success follows the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from manyparts.evaluation.results import PromptStudy
from manyparts.evaluation.statistics import Interval
from manyparts.report.svg import interval_bar

_READING = (
    '<p class="soft">A frame marks a task\'s own prompt. An agent that obeys succeeds there and not beside it; rows '
    "that are all alike say that the scene alone tells it what to do. Small figures are 95 % intervals.</p>"
)


def prompts(study: PromptStudy | None) -> list[str]:
    """The section's parts; none without a study."""
    if study is None:
        return []
    each = f"{study.episodes} episode{'' if study.episodes == 1 else 's'} a task and prompt"
    parts = [
        "<h2>What the prompt changes</h2>",
        f"<p>Success at any step, {each}.</p>",
        _kinds(study),
    ]
    return [*parts, *_matrix(study)] if len(study.matrix) > 1 else parts


def _kinds(study: PromptStudy) -> str:
    rows = "".join(
        f"<tr><td>{escape(kind.replace('_', ' ').replace('+', ' + '))}</td>"
        f'<td class="spare">{interval_bar(found.mean, found.low, found.high)}</td>'
        f'<td class="number">{_percent(found)} <span class="interval">{_bounds(found)}</span></td></tr>'
        for kind, found in study.kinds.items()
    )
    head = '<tr><th>told by</th><th class="spare"></th><th class="number">success</th></tr>'
    return f'<div class="wide"><table id="prompts"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _matrix(study: PromptStudy) -> list[str]:
    """Told (down) against the task of the scene (across), as a heat map."""
    scenes = list(next(iter(study.matrix.values())))
    heads = "".join(f"<th>{_name(scene)}</th>" for scene in scenes)
    rows = "".join(
        f"<tr><td>{_name(told)}</td>{''.join(_cell(found[scene], own=told == scene) for scene in scenes)}</tr>"
        for told, found in study.matrix.items()
    )
    head = f"<thead><tr><th>told, in scenes of</th>{heads}</tr></thead>"
    return [
        f"<h3>Told another task, by {escape(study.matrix_with.replace('_', ' '))}</h3>",
        f"<p>{_summary(study.matrix)}</p>",
        f'<div class="wide"><table class="heat">{head}<tbody>{rows}</tbody></table></div>',
        _READING,
    ]


def _summary(matrix: Mapping[str, Mapping[str, Interval]]) -> str:
    pairs = [
        (told == scene, found.mean) for told, row in matrix.items() for scene, found in row.items()
    ]
    own, other = (
        100 * np.mean([mean for same, mean in pairs if same == which]) for which in (True, False)
    )
    return f"Mean success {own:.0f} % when told the task of the scene, {other:.0f} % when told another."


def _cell(found: Interval, *, own: bool) -> str:
    kind = "cell own" if own else "cell"
    return f'<td class="{kind}" style="--share:{found.mean:.2f}">{_percent(found)}<small>{_bounds(found)}</small></td>'


def _name(task: str) -> str:
    """Without the suite, which all tasks of a study share as a rule; it may break at its
    hyphens."""
    return escape(task.partition("/")[2] or task)


def _percent(found: Interval) -> str:
    return f"{100 * found.mean:.0f} %"


def _bounds(found: Interval) -> str:
    return f"[{100 * found.low:.0f}, {100 * found.high:.0f}]"
