"""Learning curves: bands over seeds, area under the curve, and environment steps to a score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from manyparts.evaluation.statistics import Interval, mean_over_seeds

STEPS = "environment_steps"
"""The metric along which curves run."""


@dataclass(frozen=True)
class Curve:
    """Scores of one run, as it was checked now and then.

    Raises:
        ValueError: there are no checks, or their steps do not increase.
    """

    steps: Float[np.ndarray, "n"]
    """Environment steps before each check, increasing."""

    values: Float[np.ndarray, "n"]
    """The score of each check, such as the mean return of its episodes."""

    def __post_init__(self) -> None:
        if not len(self.steps) or len(self.steps) != len(self.values):
            raise ValueError(f"{len(self.steps)} steps and {len(self.values)} values")
        if (np.diff(self.steps) <= 0).any():
            raise ValueError(f"steps {self.steps} do not increase")

    def at(self, step: float) -> float:
        """The score at an environment step, on the line between the checks around it.

        Up to one distance between checks beyond its ends, a curve goes on as it ended there.

        Args:
            step: environment steps.

        Raises:
            ValueError: it lies further beyond the checks.
        """
        margin = np.diff(self.steps).max(initial=0)
        first, last = self.steps[0], self.steps[-1]
        if not first - margin <= step <= last + margin:
            raise ValueError(f"step {step:g} is beyond the checks from {first:g} to {last:g}")
        return float(np.interp(step, self.steps, self.values))

    def area(self, first: float | None = None, last: float | None = None) -> float:
        """The mean score over environment steps: the area under the curve by its length.

        Args:
            first: where the area begins; None: at the first check.
            last: where it ends; None: at the last check.

        Raises:
            ValueError: see `at`; or the area does not end after its beginning.
        """
        first = float(self.steps[0]) if first is None else first
        last = float(self.steps[-1]) if last is None else last
        if not first < last:
            raise ValueError(f"an area from step {first:g} to {last:g}")
        inside = (self.steps > first) & (self.steps < last)
        steps = np.array([first, *self.steps[inside], last])
        values = np.array([self.at(first), *self.values[inside], self.at(last)])
        return float(np.trapezoid(values, steps) / (last - first))

    def steps_to(self, score: float, *, checks: int = 1) -> float | None:
        """Environment steps until the first check with at least this score; None if there is none.

        Args:
            score: what is to be reached.
            checks: how many checks in a row must reach it. A check of few episodes may reach it by
                luck; steps are those of the first of the row.
        """
        held = 0
        for index, value in enumerate(self.values):
            held = held + 1 if value >= score else 0
            if held == checks:
                return float(self.steps[index - checks + 1])
        return None


@dataclass(frozen=True)
class Band:
    """The mean of several runs' curves, with its interval."""

    steps: Float[np.ndarray, "n"]
    """Environment steps."""

    mean: Float[np.ndarray, "n"]
    """The mean over tasks and seeds."""

    low: Float[np.ndarray, "n"] | None
    """The lower bound of its interval; None with a single seed."""

    high: Float[np.ndarray, "n"] | None
    """The upper bound."""


@dataclass(frozen=True)
class Reached:
    """Environment steps that several runs took to a score."""

    score: float
    """What was to be reached."""

    steps: tuple[float | None, ...]
    """Of each run; None if it did not get there within the budget (its time is censored)."""

    budget: float
    """Environment steps until which every run was watched."""

    median: float | None
    """The median of `steps`; None if at most half of the runs got there within the budget."""

    restricted: Interval
    """The mean over runs of min(steps, budget), the restricted mean time. It is below the true mean
    if a run did not get there. Of a single run, or if no run got there, the bounds equal it."""

    @property
    def count(self) -> int:
        """How many runs got there."""
        return sum(step is not None for step in self.steps)


def curve_of(rows: Iterable[Mapping[str, Any]], metric: str) -> Curve | None:
    """A metric of a run over its environment steps; None if it was never recorded.

    Args:
        rows: of metrics.jsonl.
        metric: its name, such as "validation/return". Values that are not finite are left out.
    """
    points: dict[float, float] = {}
    for row in rows:
        step, value = row.get(STEPS), row.get(metric)
        if isinstance(step, int | float) and isinstance(value, int | float) and isfinite(value):
            points[float(step)] = float(value)
    if not points:
        return None
    steps = np.array(sorted(points))
    return Curve(steps, np.array([points[step] for step in steps]))


def over_seeds(
    values: Sequence[Sequence[float]], *, limits: tuple[float, float] | None = None
) -> Interval:
    """The mean of one number per run over tasks and seeds, with Student's interval.

    A bootstrap of three to five seeds covers the truth too rarely, see `mean_over_seeds`.

    Args:
        values: for each task its runs' values, one per seed; equally many for all tasks. Of a
            single seed the bounds equal the mean, since nothing says how seeds differ.
        limits: bounds of what is possible, such as (0, 1) of a success; None: there are none.

    Raises:
        ValueError: there are no runs, or a task has more of them than another.
    """
    counts = {len(runs) for runs in values}
    if len(counts) != 1 or not min(counts):
        raise ValueError(f"tasks have {[len(runs) for runs in values]} runs; expected equally many")
    scores = np.array(values, np.float64)
    if scores.shape[1] == 1:
        mean = float(scores.mean())
        return Interval(mean, mean, mean)
    estimate = mean_over_seeds(scores[..., None], successes=None if limits == (0, 1) else False)
    if limits is None:
        return estimate
    bounds = (float(np.clip(bound, *limits)) for bound in (estimate.low, estimate.high))
    return Interval(estimate.mean, *bounds)


def band(tasks: Sequence[Sequence[Curve]], *, limits: tuple[float, float] | None = None) -> Band:
    """The mean curve over tasks and seeds, with its interval at each step, see `over_seeds`.

    Args:
        tasks: for each task its runs' curves, one per seed; equally many for all tasks.
        limits: see `over_seeds`.

    Returns:
        The band, over the steps that all runs have: those of the first run's checks. Others stand
        on the lines between their checks.

    Raises:
        ValueError: see `over_seeds`; or the curves have no steps in common.
    """
    curves = [curve for runs in tasks for curve in runs]
    if not curves:
        raise ValueError("no curves")
    first = max(float(curve.steps[0]) for curve in curves)
    last = min(float(curve.steps[-1]) for curve in curves)
    steps = np.unique(np.concatenate([curves[0].steps, [first, last]]))
    steps = steps[(steps >= first) & (steps <= last)]
    if not len(steps):
        raise ValueError(
            f"curves have no steps in common: one begins at {first:g}, one ends at {last:g}"
        )
    intervals = [
        over_seeds([[curve.at(step) for curve in runs] for runs in tasks], limits=limits)
        for step in steps
    ]
    mean, low, high = (
        np.array([getattr(each, name) for each in intervals]) for name in ("mean", "low", "high")
    )
    several = len(tasks[0]) > 1
    return Band(steps, mean, low if several else None, high if several else None)


def reached(
    curves: Sequence[Curve], score: float, *, checks: int = 1, budget: float = inf
) -> Reached:
    """Environment steps that the runs of one task took to a score.

    Args:
        curves: of the runs, at least one.
        score: what is to be reached.
        checks: see `Curve.steps_to`.
        budget: what comes after so many steps does not count; at most until the end of the
            shortest curve.

    Raises:
        ValueError: there are no curves.
    """
    if not curves:
        raise ValueError("no curves")
    budget = min(budget, *(float(curve.steps[-1]) for curve in curves))
    times = (curve.steps_to(score, checks=checks) for curve in curves)
    steps = [None if step is None or step > budget else step for step in times]
    ordered = sorted(inf if step is None else step for step in steps)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    watched = [budget if step is None else step for step in steps]
    restricted = over_seeds([watched], limits=(0.0, budget))
    return Reached(score, tuple(steps), budget, middle if middle < inf else None, restricted)
