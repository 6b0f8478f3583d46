"""What a run that learned by acting left in its folder: curves, teachers' weights, predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.evaluation.curves import Curve, curve_of
from manyparts.evaluation.prediction.imagined import CURVES, FILM
from manyparts.evaluation.prediction.open_loop import RESULTS
from manyparts.evaluation.prediction.own_episodes import TeacherWeights
from manyparts.models.run_files import results_folder, run_of
from manyparts.training.online.validation import best_outcome

PREDICTION = "prediction"
WEIGHT = "distillation/weight/"
_DEAD = 0.02  # a weight below it hardly counts
_ALIKE = 0.2  # weights that differ by less than this part of their mean are alike


@dataclass(frozen=True)
class Acted:
    """How a run learned by acting."""

    environment: str
    """The task that it acted in."""

    objectives: Mapping[str, Any]
    """Configs of its objectives by their names, as JSON values."""

    rows: Sequence[Mapping[str, Any]]
    """The rows of its metrics.jsonl."""

    best: Mapping[str, Any]
    """See `best_outcome`."""

    prediction: Mapping[str, Any]
    """The content of prediction.json, of one model; empty if nothing was predicted."""

    films: tuple[Path, ...]
    """Films of what it imagined."""

    drawing: Path | None
    """Curves of what it imagined."""

    weights: TeacherWeights | None
    """How much its teachers counted in some episodes."""

    @classmethod
    def read(cls, run: Path, config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Acted:
        """Read what is there.

        Args:
            run: the run, or one of its checkpoints.
            config: the run's config.json.
            rows: of its metrics.jsonl.

        Raises:
            UserError: a file cannot be read.
        """
        folder = results_folder(run, PREDICTION)
        drawing = folder / CURVES
        return cls(
            environment=str(config.get("environment")),
            objectives=config.get("objectives", {}),
            rows=rows,
            best=best_outcome(run_of(run)),
            prediction=_prediction(folder / RESULTS),
            films=tuple(sorted(folder.glob(FILM.format("*")))),
            drawing=drawing if drawing.exists() else None,
            weights=TeacherWeights.read(folder),
        )

    def curve(self, metric: str) -> Curve | None:
        """A metric over environment steps; None if it was never recorded."""
        return curve_of(self.rows, metric)

    def curves(self, prefix: str) -> dict[str, Curve]:
        """The metrics with a prefix over environment steps, by the rest of their names."""
        names = dict.fromkeys(name for row in self.rows for name in row if name.startswith(prefix))
        return {
            name.removeprefix(prefix): curve
            for name in names
            if (curve := curve_of(self.rows, name)) is not None
        }


def verdict_on_weights(curves: Mapping[str, Curve], *, floor: float) -> str:
    """Say in a sentence which teachers counted in the second half of training.

    Args:
        curves: by source, how much its teacher counted.
        floor: the smallest weight with which distillation counts a teacher.
    """
    late = {
        name: curve.values[curve.steps >= (curve.steps[0] + curve.steps[-1]) / 2]
        for name, curve in curves.items()
    }
    means = {name: float(values.mean()) for name, values in late.items()}
    if len(means) == 1:
        return "There is one teacher, so it has all the weight."
    if max(means.values()) - min(means.values()) < _ALIKE * np.mean(list(means.values())):
        return (
            "In the second half of training all teachers count about the same: the weights do not "
            "tell the sources apart."
        )
    first = max(means, key=lambda name: means[name])
    parts = [f"In the second half of training {first} counts most, {100 * means[first]:.0f} %."]
    dead = [name for name, values in late.items() if values.max() < max(_DEAD, 1.1 * floor)]
    if dead:
        near = "the floor, which still draws the student to it" if floor > _DEAD else "0"
        one = len(dead) == 1
        parts.append(
            f"{_listed(dead)} {'is' if one else 'are'} dead: {'its' if one else 'their'} weight "
            f"stays near {near if one else near.replace(' to it', ' to them')}."
        )
    return " ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def _prediction(path: Path) -> Mapping[str, Any]:
    """The first model's part of prediction.json."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["models"][0] if "models" in content else content
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
