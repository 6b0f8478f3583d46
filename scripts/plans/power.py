"""What the archives say for the plans: tasks, variances, power, steps of equal seconds, core hours.

python scripts/plans/power.py
"""

from __future__ import annotations

import itertools
import math
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from primary import paired
from scipy import stats

from manyparts.evaluation.results import Result
from manyparts.studies import find_study
from manyparts.studies.engine.stages import (
    Collect,
    Evaluate,
    EvaluateReference,
    Stage,
    Train,
    facts,
    is_done,
    lineage,
    product,
)
from manyparts.studies.engine.study import Measurement, stages_of
from manyparts.studies.library import dualmind_second_phase as second_phase
from manyparts.studies.library import planning_walkers as walkers
from manyparts.studies.library.dualmind import BOTH, DUAL, GATO, IMITATION, PREFIX
from manyparts.studies.library.dualmind import methods as archived_methods
from manyparts.studies.library.dynamics_generalist import PLANNING, POLICY
from manyparts.studies.library.settings import UNSEEN, ZERO_SHOT_EMBODIMENTS

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"
SEEDS = {"dualmind": 3, "dynamics-generalist": 5}  # of the archived studies
# Methods that are another one under a second name: their seeds would count twice.
SAME = ("phase II variant 3", "visual tokens 4")
LOW, HIGH = 0.1, 1.0  # between them a task tells methods apart


def unpacked(name: str, folder: Path) -> Path:
    """Unpack the archive of a study's laptop size, and return the folder."""
    with tarfile.open(EVIDENCE / f"{name}-laptop.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def successes(output: Path) -> tuple[tuple[str, ...], Mapping[str, np.ndarray]]:
    """Return the tasks, and each method's success on unseen goals (tasks, seeds)."""
    tasks: tuple[str, ...] = ()
    scores: dict[str, list[list[float]]] = {}
    for each in find_study("dualmind").measurements("laptop", SEEDS["dualmind"]):
        if each.setting == UNSEEN and each.method not in SAME:
            (stage,) = each.evaluations
            tasks, result = stage.tasks, Result.load(product(stage, output))
            means = [float(result.values("success_any", task).mean()) for task in tasks]
            scores.setdefault(each.method, []).append(means)
    return tasks, {method: np.array(means).T for method, means in scores.items()}


def decided_tasks(tasks: Iterable[str], scores: Mapping[str, np.ndarray]) -> list[str]:
    """Return the tasks that some method solved more often than `LOW` and less than `HIGH`."""
    chosen: list[str] = []
    for number, task in enumerate(tasks):
        means = [values[number].mean() for values in scores.values()]
        if any(LOW + 1e-9 < mean < HIGH - 1e-9 for mean in means):
            chosen.append(task)
    return chosen


def power_of(effect: float, error: float, freedom: float, confidence: float = 0.95) -> float:
    """Return the probability that the interval lies above 0.

    Args:
        effect: The true difference.
        error: The standard error of the estimate.
        freedom: Degrees of freedom of the error's estimate.
        confidence: The interval's.
    """
    reach = stats.t.ppf((1 + confidence) / 2, freedom)
    return float(stats.nct.sf(reach, freedom, effect / error))


def detectable(error: float, freedom: float, confidence: float = 0.95) -> float:
    """Return the smallest effect that shows with a probability of 0.8."""
    steps = (step * error / 100 for step in itertools.count())
    return next(effect for effect in steps if power_of(effect, error, freedom, confidence) >= 0.8)


def pooled_std(values: Iterable[np.ndarray]) -> tuple[float, int]:
    """Return the std of seeds within methods and its degrees of freedom; each (seeds,)."""
    sample = list(values)
    freedom = sum(len(each) - 1 for each in sample)
    return math.sqrt(sum(((each - each.mean()) ** 2).sum() for each in sample) / freedom), freedom


def dualmind(output: Path) -> None:
    """Print what the plan dualmind-second-phase rests on."""
    tasks, scores = successes(output)
    chosen = decided_tasks(tasks, scores)
    print("tasks: lowest and highest success of a method on unseen goals")
    for number, task in enumerate(tasks):
        means = [values[number].mean() for values in scores.values()]
        word = "decided" if task in chosen else "other"
        print(f"  {task:32} {min(means):.2f} to {max(means):.2f}  {word}")
    assert tuple(chosen) == second_phase.scale_of("laptop").decided
    rows = [tasks.index(task) for task in chosen]
    means = {method: values[rows].mean(axis=0) for method, values in scores.items()}
    pair = [means[second_phase.ARCHIVED], means[IMITATION]]
    effect = float(pair[0].mean() - pair[1].mean())
    print(
        f"archived means over these: variant 1 {pair[0].mean():.3f}, imitation {pair[1].mean():.3f}"
    )
    pooled, freedom = pooled_std(means.values())
    print(f"std of seeds: {pooled:.3f} pooled over {len(means)} methods ({freedom} d.f.)")
    print(f"std of seeds: {pooled_std(pair)[0]:.3f} of these two (4 d.f.)")
    high = pooled_std(pair)[0] * math.sqrt(4 / stats.chi2.ppf(0.1, 4))
    print(f"upper 90 % bound of the latter: {high:.3f}")
    for std, seeds in itertools.product((pooled, high), (3, 4, 8)):
        error, count = std * math.sqrt(2 / seeds), 2 * (seeds - 1)
        powers = [power_of(part * effect, error, count) for part in (1, 0.5, 0.25)]
        shown = ", ".join(f"{power:.2f}" for power in powers)
        print(
            f"  {seeds} seeds, std {std:.3f}: power {shown} for the archived difference "
            f"{effect:+.3f}, a half and a quarter; 0.8 for {detectable(error, count):.3f}"
        )
    _equal_seconds(output)


def _equal_seconds(output: Path) -> None:
    """Print the steps that methods of one phase take in the core seconds of variant 1."""
    seconds: dict[str, float] = {}
    for method in (second_phase.ARCHIVED, IMITATION, BOTH, GATO):
        costs = [
            sum(
                facts(run, output)["core_seconds"]
                for run in lineage(archived_methods("laptop", seed)[method])
            )
            for seed in range(SEEDS["dualmind"])
        ]
        seconds[method] = float(np.mean(costs))
    target = seconds[second_phase.ARCHIVED]
    print(f"core seconds of training: variant 1 {target:.0f}")
    for method in (IMITATION, BOTH, GATO):
        steps = archived_methods("laptop", 0)[method].config.steps
        equal = steps * target / seconds[method]
        print(f"  {method}: {seconds[method]:.0f} for {steps} steps; equal: {equal:.0f} steps")


def generalists(output: Path) -> None:
    """Print what the plan planning-walkers rests on."""
    archived = find_study("dynamics-generalist").measurements("laptop", 5)
    differences = paired(archived, ZERO_SHOT_EMBODIMENTS, output)
    num_walkers, seeds = differences.shape
    rest = (
        differences
        - differences.mean(axis=1, keepdims=True)
        - differences.mean(axis=0)
        + differences.mean()
    )
    of_rest = float((rest**2).sum() / (num_walkers - 1) / (seeds - 1))
    of_walkers = max(0.0, float(differences.mean(axis=1).var(ddof=1)) - of_rest / seeds)
    of_seeds = max(0.0, float(differences.mean(axis=0).var(ddof=1)) - of_rest / num_walkers)
    episodes = _variance_of_episodes(archived, output)
    print(f"planning minus the policy: {differences.mean():+.3f}, per walker and seed:")
    print(np.array2string(differences, precision=2, suppress_small=True))
    print(
        f"std between seeds {math.sqrt(of_seeds):.3f}, between walkers "
        f"{math.sqrt(of_walkers):.3f}, the rest {math.sqrt(of_rest):.3f}; of the mean of three "
        f"episodes {math.sqrt(episodes / 3):.3f}"
    )
    for count, shown in itertools.product((3, 20, 40), (2, 3)):
        # Of few cells, the rest came out below what its episodes alone explain.
        cell = max(of_rest - episodes / 3, 0) + episodes / shown
        parts = (
            ((of_seeds + cell / count) / 5, 4),
            ((of_walkers + cell / 5) / count, count - 1),
        )
        variance = sum(part for part, _ in parts)
        freedom = variance**2 / sum(part**2 / number for part, number in parts)
        error = math.sqrt(variance)
        powers = [f"{power_of(effect, error, freedom):.2f}" for effect in (0.05, 0.1, 0.2)]
        print(
            f"  5 seeds, {count} walkers, {shown} episodes: half-width "
            f"{stats.t.ppf(0.975, freedom) * error:.3f}; power {', '.join(powers)} for 0.05, 0.1 "
            f"and 0.2; 0.8 for {detectable(error, freedom):.3f}"
        )
    distances = walkers.distances(
        walkers.scale_of("laptop").unseen, walkers.training_walkers("laptop")
    )
    nearer, farther = walkers.halves("laptop")
    for name, half in (("nearer", nearer), ("farther", farther)):
        listed = ", ".join(f"{task[-4:]} ({distances[task]:.2f})" for task in half)
        print(f"{name}: {listed}")


def _variance_of_episodes(archived: Iterable[Measurement], output: Path) -> float:
    """Return the variance of an episode's difference, from the same start, within its cell."""
    rewards: dict[str, list[np.ndarray]] = {PLANNING: [], POLICY: []}
    for each in archived:
        if each.setting == ZERO_SHOT_EMBODIMENTS and each.method in rewards:
            (stage,) = each.evaluations
            result = Result.load(product(stage, output))
            for task in stage.tasks:
                values = result.values("return", task) / result.values("length", task)
                rewards[each.method].append(values)
    pairs = zip(rewards[PLANNING], rewards[POLICY], strict=True)
    return float(np.mean([(planning - policy).var(ddof=1) for planning, policy in pairs]))


def hours(name: str, cost: Callable[[Stage], float]) -> None:
    """Print the core hours of a planned study, in the order in which it runs, added up."""
    study = find_study(name)
    spent: dict[str, float] = {}
    done: set[str] = set()
    for measurement in study.measurements("laptop", study.seeds):
        kind = f"{measurement.method}: {measurement.setting}"
        for stage in stages_of([measurement]):
            if stage.key not in done:
                done.add(stage.key)
                spent[kind] = spent.get(kind, 0.0) + cost(stage) / 3600
    total = 0.0
    for kind, each in spent.items():
        total += each
        print(f"  {each:5.2f} h, {total:5.2f} h so far  {kind}")


def cost_of_second_phase(output: Path) -> Callable[[Stage], float]:
    """Return what a stage of dualmind-second-phase costs, by the archived stage like it."""

    def run_of(run: Train, seed: int) -> Train:
        start = None if run.start_from is None else run_of(run.start_from, seed)
        assert isinstance(run.data, Collect)
        few = len(run.data.tasks) == 1
        data = replace(run.data, seed=1000 + seed if few else 0)
        return replace(run, config=replace(run.config, seed=seed), data=data, start_from=start)

    archived = archived_methods("laptop", 0)
    joint = archived[BOTH].data
    assert isinstance(joint, Collect)

    def cost(stage: Stage) -> float:
        costs: list[float] = []
        for seed in range(SEEDS["dualmind"]):
            factor = 1.0
            like: Stage = stage
            if isinstance(stage, Collect):
                like = replace(stage, seed=1000 + seed if len(stage.tasks) == 1 else 0)
            elif isinstance(stage, Train | Evaluate):
                run = run_of(stage if isinstance(stage, Train) else stage.run, seed)
                if not is_done(run, output):
                    run, factor = _stand_in(run, seed)
                like = run
                if isinstance(stage, Evaluate):
                    factor = 1.0
                    like = replace(stage, run=run, seed=0)
                    if not is_done(like, output):
                        factor = len(stage.tasks) / len(joint.tasks)
                        like = replace(like, tasks=joint.tasks)
            if is_done(like, output):
                costs.append(factor * facts(like, output)["core_seconds"])
        return float(np.median(costs))

    return cost


def _stand_in(run: Train, seed: int) -> tuple[Train, float]:
    """Return an archived run like one that the archive lacks, and the part of its time."""
    archived = archived_methods("laptop", seed)
    if run.config.phase == "few-shot":  # of variant 1; the archive has those of variant 3
        return replace(run, config=replace(run.config, seed=seed), start_from=archived[DUAL]), 1.0
    if run.start_from is not None:
        return archived[PREFIX], 1.0
    for method in (IMITATION, BOTH, GATO):
        like = archived[method]
        if replace(run.config, steps=like.config.steps) == like.config:
            return like, run.config.steps / like.config.steps
    raise LookupError(run.config.phase)


def cost_of_generalists(output: Path) -> Callable[[Stage], float]:
    """Return what a stage of planning-walkers costs, by the archived stage like it."""
    before = walkers.scale_of("laptop").before

    def run_of(run: Train, seed: int) -> Train:
        assert isinstance(run.data, Collect)
        config = replace(run.config, seed=seed)
        return replace(run, config=config, data=replace(run.data, seed=0))

    def cost(stage: Stage) -> float:
        costs: list[float] = []
        for seed in range(SEEDS["dynamics-generalist"]):
            factor = 1.0
            like: Stage = stage
            if isinstance(stage, Collect):
                like = replace(stage, seed=0)
            elif isinstance(stage, Train):
                like = run_of(stage, seed)
            elif isinstance(stage, Evaluate | EvaluateReference):
                factor = len(stage.tasks) * stage.episodes / (len(before) * 3)
                like = replace(stage, tasks=before, episodes=3, seed=0)
                if isinstance(like, Evaluate):
                    like = replace(like, run=run_of(like.run, seed))
            if is_done(like, output):
                costs.append(factor * facts(like, output)["core_seconds"])
        return float(np.median(costs))

    return cost


def main() -> None:
    with tempfile.TemporaryDirectory() as unpacked_there:
        archived = Path(unpacked_there)
        print("== dualmind-second-phase, from dualmind-laptop.tar.xz")
        output = unpacked("dualmind", archived / "dualmind")
        dualmind(output)
        hours("dualmind-second-phase", cost_of_second_phase(output))
        print("== planning-walkers, from dynamics-generalist-laptop.tar.xz")
        output = unpacked("dynamics-generalist", archived / "dynamics-generalist")
        generalists(output)
        hours("planning-walkers", cost_of_generalists(output))


if __name__ == "__main__":
    main()
