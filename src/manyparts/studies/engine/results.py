"""What a study found: a row for each method and setting, comparisons with the reference, and what
became of claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
from manyparts.studies.engine.stages import (
    Collect,
    Evaluate,
    EvaluateReference,
    facts,
    is_done,
    lineage,
    needs,
    product,
)
from manyparts.studies.engine.study import Claim, Measurement, Score, Study

RESULTS = "results.json"
SOLVED = 0.9  # score from which a task counts as solved; DualMind's headline counts tasks so


@dataclass(frozen=True)
class Row:
    """A method in a setting. seeds: those whose stages are all done. episodes: over all seeds and
    tasks.

    demonstrations, pretraining, place: as in `Measurement`. mean, low, high: the study's score,
    over tasks and seeds. tasks: that of each, over seeds. solved: tasks with at least `SOLVED`.
    training_steps: of all the runs that lead to the agent. train_seconds: within these steps, a
    mean over seeds. hours: by the clock, of the collections and runs that lead to the agent, one
    after the other, a mean over seeds; core_hours: what these computed. parameters: learned ones of
    the agent's last run; trained_parameters: those which that run trained. probes: R^2 by "linear"
    or "mlp" and "state" or "goal", a mean over dimensions and the seeds that were probed.
    """

    method: str
    setting: str
    demonstrations: int | None
    pretraining: int | None
    place: str
    seeds: tuple[int, ...]
    episodes: int
    mean: float
    low: float
    high: float
    tasks: Mapping[str, float]
    solved: int
    training_steps: int
    train_seconds: float
    hours: float
    core_hours: float
    parameters: int
    trained_parameters: int
    probes: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """A against B in a setting. difference: of mean scores. probability: that a run of A beats one
    of B on a task drawn at random, ties counting half (Agarwal et al. 2021)."""

    a: str
    b: str
    setting: str
    difference: Difference
    probability: Interval


@dataclass(frozen=True)
class Verdict:
    """What became of a claim in a setting: "shows", "does not show", "the opposite shows" (of a
    claim by a margin: the difference is less than that), "one seed cannot tell" or "not
    measured"."""

    words: str
    better: str
    worse: str
    setting: str
    verdict: str


@dataclass(frozen=True)
class StudyResult:
    """rows: in the order of settings, then of methods. provenance: plain JSON values."""

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    provenance: Mapping[str, Any]

    @property
    def settings(self) -> list[str]:
        return list(dict.fromkeys(row.setting for row in self.rows))

    def in_setting(self, setting: str) -> list[Row]:
        return [row for row in self.rows if row.setting == setting]

    def comparison(self, a: str, b: str, setting: str) -> Comparison | None:
        """A against B, if both were measured there."""
        return next(
            (
                each
                for each in self.comparisons
                if (each.a, each.b, each.setting) == (a, b, setting)
            ),
            None,
        )

    def compares(self, setting: str) -> bool:
        """Whether any two methods were measured there."""
        return any(each.setting == setting for each in self.comparisons)

    def save(self, folder: Path) -> Path:
        """Write results.json, all of it or nothing, and return its path."""
        path = folder / RESULTS
        write_atomically(path, json.dumps(asdict(self), indent=1).encode())
        return path


@dataclass(frozen=True)
class _Cell:
    """The finished seeds of a method in a setting. values: the study's score (tasks, seeds,
    episodes)."""

    measurements: tuple[Measurement, ...]
    tasks: tuple[str, ...]
    values: np.ndarray
    results: tuple[Result, ...]

    @property
    def learned(self) -> bool:
        """Whether a seed is an agent's training, not only episodes' chance."""
        return any(isinstance(each, Evaluate) for each in self.measurements[0].evaluations)


def gather(
    study: Study, preset: str, measurements: Sequence[Measurement], output: Path
) -> StudyResult:
    """What the finished stages under `output` say. A setting without a finished seed of a method
    has no row for it."""
    settings = dict.fromkeys(measurement.setting for measurement in measurements)
    cells = {setting: _cells(study.score, measurements, setting, output) for setting in settings}
    rows = [_row(cell, output) for found in cells.values() for cell in found.values()]
    comparisons = [
        _compare(found, setting, a, b)
        for setting, found in cells.items()
        for a, b in _pairs(study, found)
    ]
    return StudyResult(
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        verdicts=tuple(
            _verdict(claim, setting, cells[setting], comparisons)
            for claim in study.claims
            for setting in _settings(claim, measurements)
        ),
        provenance=_provenance(study, preset, cells),
    )


def _cells(
    score: Score, measurements: Sequence[Measurement], setting: str, output: Path
) -> dict[str, _Cell]:
    """Method to its finished seeds in this setting."""
    finished: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        whole = all(is_done(evaluation, output) for evaluation in measurement.evaluations)
        if measurement.setting == setting and whole:
            finished.setdefault(measurement.method, []).append(measurement)
    return {method: _cell(score, found, output) for method, found in finished.items()}


def _cell(score: Score, measurements: Sequence[Measurement], output: Path) -> _Cell:
    evaluations = [
        [(each, Result.load(product(each, output))) for each in one.evaluations]
        for one in measurements
    ]
    tasks = tuple(task for each in measurements[0].evaluations for task in each.tasks)
    values = [
        [_scores(score, result, task) for each, result in seed for task in each.tasks]
        for seed in evaluations
    ]
    return _Cell(
        measurements=tuple(measurements),
        tasks=tasks,
        values=np.array(values).swapaxes(0, 1),
        results=tuple(result for seed in evaluations for _, result in seed),
    )


def _scores(score: Score, result: Result, task: str) -> np.ndarray:
    """Of every episode of a task, (episodes,)."""
    if score == "success":
        return result.values("success_any", task)
    return result.values("return", task) / result.values("length", task)


def _row(cell: _Cell, output: Path) -> Row:
    first = cell.measurements[0]
    found = mean_over_seeds(cell.values)
    runs = [each.run for each in first.evaluations if isinstance(each, Evaluate)]
    last = facts(runs[0], output) if runs else {}
    costs = [_cost(each, output) for one in cell.measurements for each in one.evaluations]
    means = cell.values.mean(axis=(1, 2))
    train_seconds, seconds, core_seconds = np.mean(costs, axis=0).tolist()
    return Row(
        method=first.method,
        setting=first.setting,
        demonstrations=first.demonstrations,
        pretraining=first.pretraining,
        place=first.place,
        seeds=tuple(measurement.seed for measurement in cell.measurements),
        episodes=cell.values.size,
        mean=found.mean,
        low=found.low,
        high=found.high,
        tasks=dict(zip(cell.tasks, means.tolist(), strict=True)),
        solved=int((means >= SOLVED - 1e-9).sum()),
        training_steps=sum(run.config.steps for run in lineage(runs[0])) if runs else 0,
        train_seconds=round(train_seconds, 1),
        hours=round(seconds / 3600, 3),
        core_hours=round(core_seconds / 3600, 3),
        parameters=last.get("parameters", 0),
        trained_parameters=last.get("trained_parameters", 0),
        probes=_probes(cell, output),
    )


def _probes(cell: _Cell, output: Path) -> dict[str, float]:
    stages = [
        each.probe
        for each in cell.measurements
        if each.probe is not None and is_done(each.probe, output)
    ]
    found: dict[str, list[float]] = {}
    for stage in stages:
        for kind, scores in json.loads(product(stage, output).read_text()).items():
            for name, score in scores.items():
                found.setdefault(
                    f"{kind} goal" if name.startswith("goal") else f"{kind} state", []
                ).append(score)
    return {name: float(np.mean(scores)) for name, scores in sorted(found.items())}


def _cost(evaluation: Evaluate | EvaluateReference, output: Path) -> tuple[float, float, float]:
    """Seconds within optimiser steps, seconds and core seconds of all collections and runs that
    lead to its agent."""
    runs = list(lineage(evaluation.run)) if isinstance(evaluation, Evaluate) else []
    collections = {
        each.key: each for run in runs for each in needs(run) if isinstance(each, Collect)
    }
    told = [facts(stage, output) for stage in [*runs, *collections.values()]]
    training = sum(facts(each, output)["train_seconds"] for each in runs)
    return (
        training,
        sum(each["seconds"] for each in told),
        sum(each["core_seconds"] for each in told),
    )


def _pairs(study: Study, cells: Mapping[str, _Cell]) -> list[tuple[str, str]]:
    """The reference against each other method, and the pairs of the claims, where both were
    measured."""
    claimed = [(claim.better, claim.worse) for claim in study.claims]
    others = [(study.reference, method) for method in cells if method != study.reference]
    return [(a, b) for a, b in dict.fromkeys([*others, *claimed]) if a in cells and b in cells]


def _compare(cells: Mapping[str, _Cell], setting: str, a: str, b: str) -> Comparison:
    ours, theirs = cells[a], cells[b]
    assert ours.tasks == theirs.tasks and ours.values.shape[2] == theirs.values.shape[2], (
        a,
        b,
        setting,
    )
    difference = difference_over_seeds(ours.values, theirs.values)
    return Comparison(
        a, b, setting, difference, improvement(ours.values.mean(axis=2), theirs.values.mean(axis=2))
    )


def _settings(claim: Claim, measurements: Sequence[Measurement]) -> list[str]:
    """Those that a claim is of, in the order in which they are measured."""
    largest: dict[str, int] = {}
    for each in measurements:
        largest[each.place] = max(each.pretraining or 0, largest.get(each.place, 0))
    smaller = {
        each.setting
        for each in measurements
        if (each.pretraining or largest[each.place]) < largest[each.place]
    }
    settings = dict.fromkeys(each.setting for each in measurements)
    return [
        setting for setting in settings if not (claim.largest_pretraining and setting in smaller)
    ]


def _verdict(
    claim: Claim, setting: str, cells: Mapping[str, _Cell], comparisons: Sequence[Comparison]
) -> Verdict:
    asked = (claim.better, claim.worse, setting)
    found = next(
        (each.difference for each in comparisons if (each.a, each.b, each.setting) == asked), None
    )
    if found is None:
        verdict = "not measured"
    elif any(
        cells[name].learned and len(cells[name].measurements) < 2
        for name in (claim.better, claim.worse)
    ):
        verdict = "one seed cannot tell"
    elif found.low > claim.margin:
        verdict = "shows"
    else:
        verdict = "the opposite shows" if found.high < claim.margin else "does not show"
    return Verdict(claim.words, claim.better, claim.worse, setting, verdict)


def _provenance(
    study: Study, preset: str, cells: Mapping[str, Mapping[str, _Cell]]
) -> dict[str, Any]:
    """Of this table and of all it rests on. mismatches: conditions that differ between results that
    are compared."""
    results = [
        result for found in cells.values() for cell in found.values() for result in cell.results
    ]
    commits = [each.provenance.get("commit") for each in results]
    commits += [
        each.provenance["training"].get("commit") for each in results if each.provenance["training"]
    ]
    conditions = [
        [_conditions(cell.results) for cell in found.values()] for found in cells.values()
    ]
    pairs = [(same[0], other) for same in conditions for other in same[1:]]
    mismatches = {text for a, b in pairs for text in provenance_mismatches(a, b)}
    return {
        "study": study.name,
        "preset": preset,
        "reference": study.reference,
        "score": study.score,
        "commit": code_commit(),
        "commits_of_stages": sorted({str(commit) for commit in commits}),
        "mismatches": sorted(mismatches),
        "versions": package_versions(),
        "notes": list(study.notes),
    }


def _conditions(results: Sequence[Result]) -> dict[str, Any]:
    """Of a cell, whose tasks may have been evaluated one by one."""
    tasks = {task for each in results for task in each.provenance.get("tasks", ())}
    return {**results[0].provenance, "tasks": sorted(tasks)}
