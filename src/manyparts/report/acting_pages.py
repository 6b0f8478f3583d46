"""The sections of a report that show how an agent learned by acting, and what it imagines."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.evaluation.curves import Curve
from manyparts.evaluation.record import UNKNOWN
from manyparts.models.run_files import run_of
from manyparts.report.acted import WEIGHT, Acted, verdict_on_weights
from manyparts.report.svg import Line, line_chart

STEP_AXIS = "environment step"
# Bytes of films before base64 that a report carries in addition to its videos.
FILM_BUDGET = 3_000_000
_EPISODES = 2  # episodes of which teachers' weights are drawn
# A critic is said to be exploited if it expects more than what comes by this part of it, or by a
# fifth of this part of the largest return that ever came.
_EXPLOITED = 0.5


def learning(acted: Acted, run: Path) -> list[str]:
    """The section on learning: returns, what the critic expects, the policy, the model.

    Args:
        acted: how the run learned.
        run: the run, for commands.

    Returns:
        HTML elements.
    """
    charts = [
        _chart(
            "return of an episode",
            {
                "validation starts": acted.curve("validation/return"),
                "training, last 20 episodes": acted.curve("collected/return"),
            },
        ),
        _chart(
            "success",
            {
                "validation starts": acted.curve("validation/success"),
                "training, last 20 episodes": acted.curve("collected/success"),
            },
            limits=(0, 1),
        ),
        _chart(
            "discounted return from the start",
            {
                "expected by the critic": acted.curve("validation/expected_return"),
                "realised": acted.curve("validation/discounted_return"),
            },
        ),
    ]
    return [
        "<h2>Learning by acting</h2>",
        f"<p>{_checks(acted, run)}</p>",
        f'<div class="charts">{"".join(charts)}</div>',
        f"<p>{_expectation(acted)}</p>",
        "<h3>Policy and model</h3>",
        f'<div class="charts">{"".join(_inner(acted))}</div>',
        f'<p class="soft">{_READING}</p>',
    ]


_READING = (
    "Entropy falls as the policy commits itself. Saturated actions lie at their bounds, where "
    "nothing is learned: near 1, every episode is the same. Gradient norms are those of each loss "
    "alone, which shows a loss that moves nothing. The divergence is what observations add to the "
    "model's own prediction. It is not drawn below its free nats: a line that stays there says "
    "that the model's states hold nothing."
)


def teachers(acted: Acted) -> list[str]:
    """The section on the teachers' weights; none without teachers.

    Args:
        acted: how the run learned.
    """
    curves = acted.curves(WEIGHT)
    if not curves:
        return []
    verdict = verdict_on_weights(curves, floor=_floor(acted))
    charts = [_chart("over training, mean of all steps", curves, limits=(0, 1))]
    if acted.weights is not None:
        for number, episode in enumerate(acted.weights.episodes[:_EPISODES]):
            actions = np.arange(len(episode))
            lines: dict[str, Line] = {
                name: (actions.tolist(), episode[:, index].tolist())
                for index, name in enumerate(acted.weights.names)
            }
            title = f"in an episode of its own, {number + 1}"
            charts.append(line_chart(lines, {}, title=title, x_label="action", y_limits=(0.0, 1.0)))
    return [
        "<h2>Which teachers count</h2>",
        f"<p>{escape(verdict)}</p>",
        f'<div class="charts">{"".join(charts)}</div>',
    ]


def imagination(acted: Acted, run: Path) -> list[str]:
    """The section on what the world model imagines: films, curves, errors.

    Args:
        acted: how the run learned.
        run: the run, for commands.
    """
    parts = ["<h2>What it imagines</h2>"]
    if not acted.prediction:
        command = escape(f"manyparts predict {run}")
        return [*parts, f'<p class="soft">Nothing was predicted: <code>{command}</code></p>']
    films, spent = [], 0
    for path in acted.films:
        spent += path.stat().st_size
        if spent <= FILM_BUDGET:
            films.append(_film(path))
    shown = ""
    if films:
        shown = (
            " Real on the left, the model's on the right. The frame is coloured where the model "
            "imagines."
        )
    parts.append(
        "<p>The model sees the first steps, then goes on alone under the actions that were really "
        f"taken.{shown}</p>"
    )
    if films:
        parts.append(f'<div class="films">{"".join(films)}</div>')
    parts.append(f'<div class="charts">{"".join(_errors(acted.prediction))}</div>')
    if acted.drawing is not None:
        data = base64.b64encode(acted.drawing.read_bytes()).decode("ascii")
        drawing = f'<img class="drawing" alt="curves" src="data:image/svg+xml;base64,{data}">'
        parts.append(f"<details><summary>Numbers, step by step</summary>{drawing}</details>")
    return parts


def _checks(acted: Acted, run: Path) -> str:
    """The last and the best validation, and what was replayed."""
    returns, success = acted.curve("validation/return"), acted.curve("validation/success")
    sentences = [f"It acted in {escape(acted.environment)}."]
    ratio = acted.curve("replay_ratio")
    if ratio is not None:
        sentences.append(
            f"{ratio.steps[-1]:.0f} environment steps so far, "
            f"{ratio.values[-1]:.4g} replayed steps for each."
        )
    if returns is not None:
        last = UNKNOWN if success is None else _percent(success.values[-1])
        sentences.append(f"Last check: return {returns.values[-1]:.4g}, success {last}.")
    best, step = acted.best, acted.best.get("environment_steps")
    if returns is not None and step == returns.steps[-1]:
        sentences.append("It is the best one so far.")
    elif best:
        command = escape(f"manyparts evaluate {run_of(run)}/checkpoints/best")
        known = _percent(best["success"]) if "success" in best else UNKNOWN
        sentences.append(
            f"Best check: return {best['return']:.4g}, success {known}, at "
            f"step {step:.0f}. Its weights are kept: <code>{command}</code>"
        )
    return " ".join(sentences)


def _expectation(acted: Acted) -> str:
    """Whether the critic expects more than comes."""
    expected = acted.curve("validation/expected_return")
    realised = acted.curve("validation/discounted_return")
    if expected is None or realised is None:
        return ""
    mine, real = float(expected.values[-1]), float(realised.values[-1])
    said = f"At the last check the critic expected {mine:.3g}, and {real:.3g} came."
    largest = float(np.abs(realised.values).max())
    if mine - real > _EXPLOITED * max(abs(real), 0.2 * largest):
        said += " It expects far more than comes: the policy exploits errors of the model."
    return said


def _inner(acted: Acted) -> list[str]:
    """Charts of the policy and of the model."""
    parts = {
        name: curve
        for name, curve in acted.curves("world/").items()
        if not name.startswith("divergence")
    }
    return [
        _chart("entropy of the policy", {"entropy": acted.curve("actor_critic/entropy")}),
        _chart(
            "saturated actions",
            {"fraction": acted.curve("actor_critic/saturated")},
            limits=(0, 1),
        ),
        _chart("gradient norm of each loss", acted.curves("gradient/"), linear=False),
        _chart("divergence of the model's states, in nats", acted.curves("world/divergence")),
        _chart("errors of the model, as weighted", parts, linear=False),
    ]


def _chart(
    title: str,
    curves: Mapping[str, Curve | None],
    *,
    limits: tuple[float, float] | None = None,
    linear: bool = True,
) -> str:
    """Curves over environment steps."""
    lines: dict[str, Line] = {
        name or "divergence": (curve.steps.tolist(), curve.values.tolist())
        for name, curve in curves.items()
        if curve is not None
    }
    return line_chart(lines, {}, title=title, x_label=STEP_AXIS, y_limits=limits, linear=linear)


def _errors(prediction: Mapping[str, Any]) -> list[str]:
    """Charts of the errors by actions ahead, next to those of predicting that nothing changes."""
    rows = prediction.get("horizons", ())
    charts = []
    for title, values in (
        ("error of states, in squared stds", [row for row in rows if row.get("error") is not None]),
        ("error of images, squared", [row["image"] for row in rows if row.get("image")]),
    ):
        if values:
            steps = [float(row["steps"]) for row in rows]
            own: Line = (steps, [float(row["error"]) for row in values])
            still: Line = (steps, [float(row["still"]) for row in values])
            lines = {"the model": own, "nothing changes": still}
            charts.append(line_chart(lines, {}, title=title, x_label="actions ahead"))
    return charts


def _floor(acted: Acted) -> float:
    """The smallest weight with which distillation counts a teacher."""
    return float(acted.objectives.get("distillation", {}).get("floor", 0.0))


def _film(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        '<div><video muted loop controls playsinline preload="auto" '
        f'src="data:video/mp4;base64,{data}"></video></div>'
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
