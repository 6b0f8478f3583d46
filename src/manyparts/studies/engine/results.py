"""Results of a study: a row per method and setting, comparisons, and verdicts on claims."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.plugins import used as plugins_used
from manyparts.core.provenance import code_commit, package_versions
from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.results import Result, provenance_mismatches
from manyparts.evaluation.statistics import (
    Difference,
    Interval,
    difference_over_seeds,
    improvement,
    mean_over_seeds,
)
from manyparts.studies.engine.scores import finished, scores
from manyparts.studies.engine.stages import (
    Collect,
    Evaluate,
    EvaluateReference,
    Run,
    facts,
    is_done,
    optimiser_steps,
    product,
    runs_before,
    with_needs,
)
from manyparts.studies.engine.study import Claim, Measurement, Study

RESULTS = "results.json"
SOLVED = 0.9  # the score from which a task counts as solved, as in the DualMind paper


@dataclass(frozen=True)
class Row:
    """A method in a setting."""

    method: str
    setting: str
    demonstrations: int | None
    """As in `Measurement`."""
    pretraining: int | None
    """As in `Measurement`."""
    environment: str
    """As in `Measurement`."""
    seeds: tuple[int, ...]
    """Seeds with all stages done."""
    episodes: int
    """The number of episodes, over all seeds and tasks."""
    mean: float
    """The mean score over tasks and seeds."""
    low: float
    """The lower end of its 95 % interval."""
    high: float
    """The upper end of its 95 % interval."""
    tasks: Mapping[str, float]
    """Task to its mean score over seeds."""
    solved: int
    """The number of tasks with a score of at least `SOLVED`."""
    training_steps: int
    """Optimiser steps of all runs that lead to the agent."""
    train_seconds: float
    """Seconds within these steps, a mean over seeds."""
    hours: float
    """Hours by the clock of all collections and runs that lead to the agent, a mean over seeds."""
    core_hours: float
    """Hours that these computed, processes added up, a mean over seeds."""
    parameters: int
    """Parameters of the agent that are learned by gradient."""
    trained_parameters: int
    """Those of them that its last run trained."""
    probes: Mapping[str, float]
    """R² of "linear state", "linear goal", "mlp state" and "mlp goal", a mean over dimensions and
    over the seeds that were probed."""


@dataclass(frozen=True)
class Comparison:
    """Method `a` compared with method `b` in a setting."""

    a: str
    b: str
    setting: str
    difference: Difference
    """The mean score of `a` minus that of `b`."""
    probability: Interval
    """The probability that a run of `a` beats one of `b` on a task drawn at random, ties counting
    half (Agarwal et al. 2021)."""


@dataclass(frozen=True)
class Verdict:
    """What the measurements say about a claim in a setting."""

    words: str
    """The claim in words."""
    better: str
    worse: str
    setting: str
    verdict: str
    """"shows", "opposite" (the difference is below the claim's margin), "not told apart",
    "not tested" or "one seed cannot tell"."""


@dataclass(frozen=True)
class StudyResult:
    """All results of a study."""

    rows: tuple[Row, ...]
    """In the order of settings, then of methods."""
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    provenance: Mapping[str, Any]
    """What the results rest on, as plain JSON values."""

    @property
    def settings(self) -> list[str]:
        return list(dict.fromkeys(row.setting for row in self.rows))

    def in_setting(self, setting: str) -> list[Row]:
        return [row for row in self.rows if row.setting == setting]

    def comparison(self, a: str, b: str, setting: str) -> Comparison | None:
        """Return the comparison of two methods in a setting; None if it is missing.

        Args:
            a: The method that is compared.
            b: The method that it is compared with.
            setting: The setting's name.
        """
        for comparison in self.comparisons:
            if (comparison.a, comparison.b, comparison.setting) == (a, b, setting):
                return comparison
        return None

    def compares(self, setting: str) -> bool:
        """Return whether any two methods are compared in a setting."""
        return any(comparison.setting == setting for comparison in self.comparisons)

    def save(self, folder: Path) -> Path:
        """Write results.json and return its path."""
        path = folder / RESULTS
        write_atomically(path, json.dumps(asdict(self), indent=1).encode())
        return path


@dataclass(frozen=True)
class _Cell:
    """The finished seeds of a method in a setting."""

    measurements: tuple[Measurement, ...]
    """One per seed."""
    tasks: tuple[str, ...]
    values: np.ndarray
    """Scores (tasks, seeds, episodes)."""
    results: tuple[Result, ...]
    """Those of all seeds' evaluations."""

    @property
    def learned(self) -> bool:
        """Whether a seed is that of a training, rather than of the episodes alone."""
        evaluations = self.measurements[0].evaluations
        return any(isinstance(evaluation, Evaluate) for evaluation in evaluations)


def gather(
    study: Study, preset: str, measurements: Sequence[Measurement], output: Path
) -> StudyResult:
    """Summarise a study: a row per setting of each method that has a finished seed there.

    Args:
        study: The study.
        preset: The name of its preset.
        measurements: Those of the preset.
        output: The study's folder.
    """
    settings = dict.fromkeys(measurement.setting for measurement in measurements)
    cells = {setting: _cells(study, measurements, setting, output) for setting in settings}
    rows: list[Row] = []
    comparisons: list[Comparison] = []
    for setting, cells_by_method in cells.items():
        rows += [_row(study, cell, output) for cell in cells_by_method.values()]
        for a, b in pairs(study, cells_by_method):
            comparisons.append(_compare(study, cells_by_method, setting, a, b))
    verdicts: list[Verdict] = []
    for claim in study.claims:
        for setting in _settings(claim, measurements):
            verdicts.append(_verdict(claim, setting, cells[setting], comparisons))
    provenance = _provenance(study, preset, cells)
    return StudyResult(tuple(rows), tuple(comparisons), tuple(verdicts), provenance)


def _cells(
    study: Study, measurements: Sequence[Measurement], setting: str, output: Path
) -> dict[str, _Cell]:
    """Return method to its finished seeds in a setting."""
    by_method = finished(measurements, setting, output)
    return {method: _cell(study, seeds, output) for method, seeds in by_method.items()}


def _cell(study: Study, measurements: Sequence[Measurement], output: Path) -> _Cell:
    tasks: list[str] = []
    for evaluation in measurements[0].evaluations:
        tasks += evaluation.tasks
    results: list[Result] = []
    values: list[list[np.ndarray]] = []  # seeds, then tasks
    for measurement in measurements:
        of_tasks: list[np.ndarray] = []
        for evaluation in measurement.evaluations:
            result = Result.load(product(evaluation, output))
            results.append(result)
            for task in evaluation.tasks:
                of_tasks.append(scores(study, evaluation, result, task, output))
        values.append(of_tasks)
    return _Cell(
        measurements=tuple(measurements),
        tasks=tuple(tasks),
        values=np.array(values).swapaxes(0, 1),
        results=tuple(results),
    )


def _row(study: Study, cell: _Cell, output: Path) -> Row:
    first = cell.measurements[0]
    score = mean_over_seeds(cell.values, successes=study.score == "success")
    runs = [evaluation.run for evaluation in first.evaluations if isinstance(evaluation, Evaluate)]
    last_run = facts(runs[0], output) if runs else {}
    costs: list[tuple[float, float, float]] = []
    for measurement in cell.measurements:
        costs += [_cost(evaluation, output) for evaluation in measurement.evaluations]
    means = cell.values.mean(axis=(1, 2))
    train_seconds, seconds, core_seconds = np.mean(costs, axis=0).tolist()
    return Row(
        method=first.method,
        setting=first.setting,
        demonstrations=first.demonstrations,
        pretraining=first.pretraining,
        environment=first.environment,
        seeds=tuple(measurement.seed for measurement in cell.measurements),
        episodes=cell.values.size,
        mean=score.mean,
        low=score.low,
        high=score.high,
        tasks=dict(zip(cell.tasks, means.tolist(), strict=True)),
        solved=int((means >= SOLVED - 1e-9).sum()),
        training_steps=sum(map(optimiser_steps, runs_before(runs[0]))) if runs else 0,
        train_seconds=round(train_seconds, 1),
        hours=round(seconds / 3600, 3),
        core_hours=round(core_seconds / 3600, 3),
        parameters=last_run.get("parameters", 0),
        trained_parameters=last_run.get("trained_parameters", 0),
        probes=_probes(cell, output),
    )


def _probes(cell: _Cell, output: Path) -> dict[str, float]:
    """Return the mean R² of each kind of probe, on the state and on the goal."""
    scores_by_name: dict[str, list[float]] = {}
    for measurement in cell.measurements:
        if measurement.probe is None or not is_done(measurement.probe, output):
            continue
        for kind, probed in json.loads(product(measurement.probe, output).read_text()).items():
            for dimension, score in probed.items():
                target = "goal" if dimension.startswith("goal") else "state"
                scores_by_name.setdefault(f"{kind} {target}", []).append(score)
    return {name: float(np.mean(scores)) for name, scores in sorted(scores_by_name.items())}


def _cost(evaluation: Evaluate | EvaluateReference, output: Path) -> tuple[float, float, float]:
    """Add up what leads to an evaluation's agent: all its runs and collections.

    Returns:
        Seconds within optimiser steps, seconds by the clock, and core seconds.
    """
    before = with_needs([evaluation])
    stage_facts = [facts(stage, output) for stage in before if isinstance(stage, Run | Collect)]
    return (
        sum(each.get("train_seconds", 0.0) for each in stage_facts),
        sum(each["seconds"] for each in stage_facts),
        sum(each["core_seconds"] for each in stage_facts),
    )


def pairs(study: Study, methods: Collection[str]) -> list[tuple[str, str]]:
    """Return the pairs to compare: the reference with each other method, then those of claims.

    Args:
        study: The study.
        methods: Those that were measured.
    """
    claimed = [(claim.better, claim.worse) for claim in study.claims]
    others = [(study.reference, method) for method in methods if method != study.reference]
    return [(a, b) for a, b in dict.fromkeys([*others, *claimed]) if a in methods and b in methods]


def _compare(study: Study, cells: Mapping[str, _Cell], setting: str, a: str, b: str) -> Comparison:
    first, second = cells[a], cells[b]
    assert first.tasks == second.tasks, (a, b, setting)
    assert first.values.shape[2] == second.values.shape[2], (a, b, setting)  # episodes
    difference = difference_over_seeds(
        first.values, second.values, successes=study.score == "success"
    )
    probability = improvement(first.values.mean(axis=2), second.values.mean(axis=2))
    return Comparison(a, b, setting, difference, probability)


def _settings(claim: Claim, measurements: Sequence[Measurement]) -> list[str]:
    """Return the settings that a claim is about, in the order in which they are measured."""
    settings = list(dict.fromkeys(measurement.setting for measurement in measurements))
    if not claim.largest_pretraining:
        return settings
    largest: dict[str, int] = {}  # trajectories, by environment
    for measurement in measurements:
        other = largest.get(measurement.environment, 0)
        largest[measurement.environment] = max(measurement.pretraining or 0, other)
    smaller = {
        measurement.setting
        for measurement in measurements
        if measurement.pretraining and measurement.pretraining < largest[measurement.environment]
    }
    return [setting for setting in settings if setting not in smaller]


def _verdict(
    claim: Claim, setting: str, cells: Mapping[str, _Cell], comparisons: Sequence[Comparison]
) -> Verdict:
    wanted = (claim.better, claim.worse, setting)
    differences = [
        comparison.difference
        for comparison in comparisons
        if (comparison.a, comparison.b, comparison.setting) == wanted
    ]
    compared = [cells[name] for name in wanted[:2] if name in cells]
    if not differences:
        verdict = "not tested"
    elif any(cell.learned and len(cell.measurements) < 2 for cell in compared):
        verdict = "one seed cannot tell"
    else:
        verdict = claim.verdict(differences[0])
    return Verdict(claim.words, claim.better, claim.worse, setting, verdict)


def _provenance(
    study: Study, preset: str, cells: Mapping[str, Mapping[str, _Cell]]
) -> dict[str, Any]:
    """Return where the results come from.

    "mismatches" are conditions that differ between results that are compared.
    """
    commits: set[str] = set()
    mismatches: set[str] = set()
    plugins = plugins_used({"studies": [study.name]})
    for cells_by_method in cells.values():
        for cell in cells_by_method.values():
            for result in cell.results:
                commits.add(str(result.provenance.get("commit")))
                plugins |= result.provenance.get("plugins", {})
                if training := result.provenance["training"]:
                    commits.add(str(training.get("commit")))
                    plugins |= training.get("plugins", {})
        conditions = [_conditions(cell.results) for cell in cells_by_method.values()]
        for other in conditions[1:]:
            mismatches |= set(provenance_mismatches(conditions[0], other))
    return {
        "study": study.name,
        "preset": preset,
        "reference": study.reference,
        "score": study.score,
        "commit": code_commit(),
        "commits_of_stages": sorted(commits),
        "mismatches": sorted(mismatches),
        "versions": package_versions(),
        "notes": list(study.notes),
        **({"plugins": plugins} if plugins else {}),
    }


def _conditions(results: Sequence[Result]) -> dict[str, Any]:
    """Return the conditions of a cell, where tasks may have been evaluated one by one."""
    tasks: set[str] = set()
    for result in results:
        tasks |= set(result.provenance.get("tasks", ()))
    return {**results[0].provenance, "tasks": sorted(tasks)}
