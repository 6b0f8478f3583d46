"""Learning curves of a study: scores over environment steps, steps to a score, the final agents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.curves import Curve, Reached, band, reached
from manyparts.evaluation.statistics import Interval, bounded
from manyparts.report.svg import line_chart
from manyparts.studies.engine.results import Row, gather
from manyparts.studies.engine.scores import RETURN, SUCCESS, curve, finished
from manyparts.studies.engine.stages import Evaluate, TrainOnline
from manyparts.studies.engine.study import Measurement, Study

CURVES = "curves.json"
COLUMNS = 5  # checks that a table shows


@dataclass(frozen=True)
class CurveRow:
    """The learning curves of a method in a setting."""

    method: str
    setting: str
    seeds: tuple[int, ...]
    """Seeds with all stages done."""
    steps: tuple[float, ...]
    """Environment steps of the checks."""
    mean: tuple[float, ...]
    """The return of each check as a fraction of the full one, a mean over tasks and seeds."""
    low: tuple[float, ...]
    """The lower ends of their 95 % intervals; empty with one seed."""
    high: tuple[float, ...]
    """The upper ends; empty with one seed."""
    success: tuple[float, ...]
    """The success of each check, a mean over tasks and seeds."""
    reached: Reached | None
    """Environment steps to the fraction of the full return that the study names; of one task."""
    solved: Reached | None
    """Environment steps to the success that the study names; of one task."""
    final_success: Interval
    """The success of the final agents on evaluation starts, over tasks and seeds."""


def gather_curves(
    study: Study, measurements: Sequence[Measurement], output: Path
) -> list[CurveRow]:
    """Return a row per setting of each method that acted while it learned, of finished seeds.

    Args:
        study: The study, which says how curves are read.
        measurements: Those of the preset.
        output: The study's folder.
    """
    final = gather(replace(study, score="success", claims=()), "", measurements, output)
    rows: list[CurveRow] = []
    for setting in dict.fromkeys(measurement.setting for measurement in measurements):
        ends = {row.method: row for row in final.in_setting(setting)}
        for method, seeds in finished(measurements, setting, output).items():
            if acts(seeds[0]):
                rows.append(_row(study, seeds, ends[method], output))
    return rows


def acts(measurement: Measurement) -> bool:
    """Return whether a measurement is of a run that acted while it learned."""
    first = measurement.evaluations[0]
    return isinstance(first, Evaluate) and isinstance(first.run, TrainOnline)


def _row(study: Study, seeds: Sequence[Measurement], end: Row, output: Path) -> CurveRow:
    assert study.curves is not None
    returns, successes = (_of_tasks(study, seeds, metric, output) for metric in (RETURN, SUCCESS))
    over = band(returns)
    one_task = len(returns) == 1
    return CurveRow(
        method=seeds[0].method,
        setting=seeds[0].setting,
        seeds=tuple(each.seed for each in seeds),
        steps=tuple(over.steps.tolist()),
        mean=tuple(over.mean.tolist()),
        low=() if over.low is None else tuple(over.low.tolist()),
        high=() if over.high is None else tuple(over.high.tolist()),
        success=tuple(band(successes, limits=(0.0, 1.0)).mean.tolist()),
        reached=reached(returns[0], study.curves.reached) if one_task else None,
        solved=reached(successes[0], study.curves.solved) if one_task else None,
        final_success=Interval(end.mean, end.low, end.high),
    )


def _of_tasks(
    study: Study, seeds: Sequence[Measurement], metric: str, output: Path
) -> list[list[Curve]]:
    """Return for each task the curves of its runs, one per seed."""
    by_seed: list[list[Curve]] = []
    for measurement in seeds:
        evaluations = [each for each in measurement.evaluations if isinstance(each, Evaluate)]
        by_seed.append([curve(study, each, metric, output) for each in evaluations])
    return [list(curves) for curves in zip(*by_seed, strict=True)]


def save_curves(rows: Sequence[CurveRow], output: Path) -> Path:
    """Write curves.json and return its path."""
    path = output / CURVES
    write_atomically(path, json.dumps([asdict(row) for row in rows], indent=1).encode())
    return path


def heads(study: Study, row: CurveRow) -> list[str]:
    """Return the names of the columns of `cells`.

    Args:
        study: The study.
        row: Any row of the setting, which says when the runs were checked.
    """
    assert study.curves is not None
    shown = [f"at {row.steps[check]:.0f}" for check in _shown(row)]
    more = [f"steps to {study.curves.reached:g}", f"steps to success {study.curves.solved:g}"]
    return ["method", *shown, *more, "final success"]


def cells(row: CurveRow) -> list[str]:
    """Return a row of a table as text: returns at some checks, steps to scores, final success."""
    shown = [f"{row.mean[check]:.2f}" for check in _shown(row)]
    steps = [_steps(each) for each in (row.reached, row.solved)]
    return [row.method, *shown, *steps, bounded(row.final_success)]


def charts(study: Study, rows: Sequence[CurveRow]) -> str:
    """Return charts of the returns of each group of methods in each setting, as HTML."""
    drawn: list[str] = []
    for setting in dict.fromkeys(row.setting for row in rows):
        own = [row for row in rows if row.setting == setting]
        here = {row.method: (row.steps, row.mean) for row in own}
        bands = {row.method: (row.steps, row.low, row.high) for row in own if row.low}
        for title, methods in study.groups.items():
            lines = {method: here[method] for method in methods if method in here}
            if lines:
                caption = f"{setting}, {title.lower()}: return as a fraction of the full one"
                drawn.append(
                    line_chart(
                        lines,
                        {},
                        title=caption,
                        x_label="environment steps",
                        linear=True,
                        bands={name: bands[name] for name in lines if name in bands},
                    )
                )
    return "".join(drawn)


def _shown(row: CurveRow) -> list[int]:
    """Return the checks that a table shows: the first, the last and some between."""
    last = len(row.steps) - 1
    return sorted({round(check) for check in np.linspace(0, last, COLUMNS).tolist()})


def _steps(reached: Reached | None) -> str:
    """Return the mean steps, and how many runs got there; the others count with their budget."""
    if reached is None:
        return ""
    return f"{reached.restricted.mean:.0f} ({reached.count} of {len(reached.steps)})"
