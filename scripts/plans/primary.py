"""The primary comparison of a planned study, its interval and verdict, and the core hours spent.

python scripts/plans/primary.py NAME FOLDER [PRESET]

NAME: that of a study with a plan. FOLDER: that of the study. PRESET: laptop if left out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from heads import PRIMARY_CLAIMS, PRIMARY_SETTING
from scipy.special import stdtrit

from manyparts.evaluation.results import Result
from manyparts.evaluation.statistics import CONFIDENCE, Interval, difference_over_seeds
from manyparts.studies import find_study
from manyparts.studies.engine.results import gather
from manyparts.studies.engine.scores import RETURN, curve, finished
from manyparts.studies.engine.stages import Evaluate, facts, is_done, product
from manyparts.studies.engine.study import Measurement, Study, stages_of
from manyparts.studies.library import (
    dualmind_second_phase,
    planning_walkers,
    vid2act,
)
from manyparts.studies.library.settings import ZERO_SHOT_EMBODIMENTS

EARLY = 14_000  # environment steps until which the prototype saw a head start


def crossed(differences: np.ndarray) -> Interval:
    """Return the mean of paired differences, with an interval over seeds and over walkers.

    The variance of the mean is that of the seeds' means plus that of the walkers' means, each
    divided by their number. It counts the rest, which is in both, twice, and so is not too small.
    Degrees of freedom are Welch's and Satterthwaite's.

    Args:
        differences: (walkers, seeds), means over episodes.
    """
    of_walkers, of_seeds = differences.mean(axis=1), differences.mean(axis=0)
    parts = [(each.var(ddof=1) / len(each), len(each) - 1) for each in (of_walkers, of_seeds)]
    variance = sum(part for part, _ in parts)
    mean = float(differences.mean())
    if not variance:
        return Interval(mean, mean, mean)
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Interval(mean, mean - reach, mean + reach)


def paired(measurements: Sequence[Measurement], setting: str, output: Path) -> np.ndarray:
    """Return planning minus the policy (walkers, seeds), of the seeds that are done for both."""
    rewards: dict[str, dict[int, list[float]]] = {}
    for each in measurements:
        whole = all(is_done(stage, output) for stage in each.evaluations)
        if each.setting == setting and each.method in planning_walkers.PRIMARY and whole:
            rewards.setdefault(each.method, {})[each.seed] = _rewards(each, output)
    planning, policy = (rewards.get(method, {}) for method in planning_walkers.PRIMARY)
    seeds = [seed for seed in planning if seed in policy]
    return np.array([np.subtract(planning[seed], policy[seed]) for seed in seeds]).T


def _rewards(measurement: Measurement, output: Path) -> list[float]:
    """Return the mean reward per step of each task."""
    rewards: list[float] = []
    for stage in measurement.evaluations:
        result = Result.load(product(stage, output))
        for task in stage.tasks:
            per_step = result.values("return", task) / result.values("length", task)
            rewards.append(float(np.mean(per_step)))
    return rewards


def verdict(interval: Interval, margin: float = 0.0) -> str:
    """Return the word of docs/results/index.md."""
    if interval.low > margin:
        return "shows"
    return "opposite" if interval.high < margin else "not told apart"


def _dualmind(output: Path, preset: str) -> None:
    study = find_study("dualmind-second-phase")
    measured = study.measurements(preset, study.seeds)
    _print_spent(measured, output)
    result = gather(study, preset, measured, output)
    pair = dualmind_second_phase.PRIMARY
    compared = result.comparison(*pair, dualmind_second_phase.DECIDED)
    if compared is None:
        print("the primary comparison is not measured yet")
        return
    difference = compared.difference
    interval = Interval(difference.mean, difference.low, difference.high)
    _print(" minus ".join(pair), interval)
    for row in result.in_setting(dualmind_second_phase.DECIDED):
        print(f"  {row.method}: {row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]", row.seeds)


def _walkers(output: Path, preset: str) -> None:
    study = find_study("planning-walkers")
    measured = study.measurements(preset, study.seeds)
    _print_spent(measured, output)
    scale = planning_walkers.scale_of(preset)
    differences = paired(measured, ZERO_SHOT_EMBODIMENTS, output)
    if differences.ndim < 2 or differences.shape[1] < 2:
        print("the primary comparison is not measured yet: it needs two seeds")
        return
    interval, margin = crossed(differences), planning_walkers.FAR_ABOVE
    _print(f"planning minus the policy, {differences.shape[1]} seeds", interval)
    print(f"  far above (by {margin}): {verdict(interval, margin)}")
    distances = planning_walkers.distances(scale.unseen, planning_walkers.training_walkers(preset))
    for number, task in enumerate(scale.unseen):
        print(f"  {task}: distance {distances[task]:.2f}, {differences[number].mean():+.3f}")
    for setting in (
        planning_walkers.NEARER,
        planning_walkers.FARTHER,
        planning_walkers.THREE_LEGS,
        planning_walkers.BEFORE,
    ):
        part = paired(measured, setting, output)
        if part.ndim == 2 and min(part.shape) > 1:
            _print(f"secondary: {setting}", crossed(part))


def _vid2act(output: Path, preset: str) -> None:
    study = find_study("vid2act")
    measured = study.measurements(preset, study.seeds)
    _print_spent(measured, output)
    in_setting = finished(measured, vid2act.BOTH, output)
    for claim in study.claims[: PRIMARY_CLAIMS["vid2act"]]:
        pair = [in_setting.get(method, []) for method in (claim.better, claim.worse)]
        if min(map(len, pair)) < 2:
            print(f"{claim.words}: not measured yet, it needs two seeds")
            continue
        better, worse = (areas(study, seeds, output) for seeds in pair)
        counts = f"{better.shape[1]} and {worse.shape[1]} seeds"
        _print(f"{claim.better} minus {claim.worse}, {counts}", _difference(better, worse))
        # All four hold together at 95 % if each holds at 98.75 % (Bonferroni).
        together = _difference(better, worse, 1 - (1 - CONFIDENCE) / PRIMARY_CLAIMS["vid2act"])
        print(f"  together with the others: {verdict(together)}")
        early = [areas(study, seeds, output, last=EARLY) for seeds in pair]
        _print(f"  secondary: until {EARLY} steps", _difference(*early))


def areas(
    study: Study, seeds: Sequence[Measurement], output: Path, *, last: float | None = None
) -> np.ndarray:
    """Return the area under the learning curve of each run, (tasks, seeds).

    Args:
        study: Says how curves are read.
        seeds: Of one method.
        output: The study's folder.
        last: The environment step at which areas end; None, or beyond a curve: at its end.
    """
    values: list[list[float]] = []
    for measurement in seeds:
        evaluations = [each for each in measurement.evaluations if isinstance(each, Evaluate)]
        curves = [curve(study, each, RETURN, output) for each in evaluations]
        ends = [min(last or math.inf, float(each.steps[-1])) for each in curves]
        values.append([each.area(last=end) for each, end in zip(curves, ends, strict=True)])
    return np.array(values).T


def _difference(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of `a` minus that of `b`, each (tasks, seeds), with Welch's interval."""
    difference = difference_over_seeds(a[..., None], b[..., None], confidence=confidence)
    return Interval(difference.mean, difference.low, difference.high)


def _compared(output: Path, preset: str, name: str) -> None:
    """Print the comparisons in a study's primary setting, the first claim's as the primary one."""
    study = find_study(name)
    measured = study.measurements(preset, study.seeds)
    _print_spent(measured, output)
    result = gather(study, preset, measured, output)
    for each in result.verdicts:
        compared = result.comparison(each.better, each.worse, each.setting)
        if each.setting != PRIMARY_SETTING[name] or compared is None:
            continue
        less = compared.difference
        kind = "" if each.words == study.claims[0].words else "secondary: "
        interval = f"{less.mean:+.3f} [{less.low:+.3f}, {less.high:+.3f}]"
        print(f"{kind}{each.better} minus {each.worse}: {interval}: {each.verdict}")
    for row in result.in_setting(PRIMARY_SETTING[name]):
        print(f"  {row.method}: {row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]", row.seeds)


def _print_spent(measurements: Sequence[Measurement], output: Path) -> None:
    stages = stages_of(measurements)
    done = [stage for stage in stages if is_done(stage, output)]
    hours = sum(facts(stage, output)["core_seconds"] for stage in done) / 3600
    print(f"{len(done)} of {len(stages)} stages done, {hours:.2f} core hours spent")


def _print(what: str, interval: Interval) -> None:
    print(
        f"{what}: {interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]: "
        f"{verdict(interval)}"
    )


def main(arguments: Sequence[str]) -> None:
    name, folder, *preset = arguments
    functions = {
        "dualmind-second-phase": _dualmind,
        "planning-walkers": _walkers,
        "vid2act": _vid2act,
        "planning-from-pixels": partial(_compared, name="planning-from-pixels"),
        "new-embodiment": partial(_compared, name="new-embodiment"),
    }
    functions[name](Path(folder), *(preset or ["laptop"]))


if __name__ == "__main__":
    main(sys.argv[1:])
