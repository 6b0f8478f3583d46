"""The numbers by which a study compares: of evaluated episodes, or of learning curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.evaluation.curves import Curve, curve_of
from manyparts.evaluation.results import Result
from manyparts.studies.engine.stages import (
    Evaluate,
    EvaluateReference,
    Run,
    TrainOnline,
    is_done,
    product,
)
from manyparts.studies.engine.study import Measurement, Study

RETURN, SUCCESS = "validation/return", "validation/success"


def finished(
    measurements: Sequence[Measurement], setting: str, output: Path
) -> dict[str, list[Measurement]]:
    """Return method to its seeds in a setting of which all stages are done.

    Args:
        measurements: Of a study.
        setting: The setting's name.
        output: The study's folder.
    """
    by_method: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        whole = all(is_done(evaluation, output) for evaluation in measurement.evaluations)
        if measurement.setting == setting and whole:
            by_method.setdefault(measurement.method, []).append(measurement)
    return by_method


def scores(
    study: Study,
    evaluation: Evaluate | EvaluateReference,
    result: Result,
    task: str,
    output: Path,
) -> np.ndarray:
    """Return what a task counts for one seed of a method.

    Args:
        study: Names the score.
        evaluation: The stage.
        result: Its result.
        task: One of its tasks.
        output: The study's folder.

    Returns:
        The score of every episode, (episodes,); of learning curves one number, (1,). A reference
        learns nothing: its curve is flat, at its mean return.
    """
    if study.score == "success":
        return result.values("success_any", task)
    if study.score == "reward a step":
        return result.values("return", task) / result.values("length", task)
    assert study.curves is not None, f"the study {study.name} does not say how to read curves"
    if isinstance(evaluation, EvaluateReference):
        return np.array([result.values("return", task).mean() / study.curves.full[task]])
    return np.array([curve(study, evaluation, RETURN, output).area()])


def curve(study: Study, evaluation: Evaluate, metric: str, output: Path) -> Curve:
    """Return the learning curve of an evaluated run that acted; returns in units of the full one.

    Args:
        study: Says which return is the full one.
        evaluation: The stage.
        metric: `RETURN` or `SUCCESS`.
        output: The study's folder.
    """
    run = evaluation.run
    assert study.curves is not None and isinstance(run, TrainOnline), run
    read = curve_of(metrics_of(run, output), metric)
    assert read is not None, f"{metric} was never recorded in {product(run, output)}"
    unit = study.curves.full[run.task] if metric == RETURN else 1.0
    return Curve(read.steps, read.values / unit)


def metrics_of(run: Run, output: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.jsonl.

    Args:
        run: The stage.
        output: The study's folder.
    """
    text = (product(run, output) / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
