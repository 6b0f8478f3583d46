"""The result of an evaluation, with intervals and provenance, and the comparison of two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.arguments import explained, path_of
from manyparts.core.errors import UserError
from manyparts.core.naming import FORMER_NAME, NAME, prompts_of_today, value_of_before
from manyparts.core.printing import counted, first_of, html_table
from manyparts.core.serialisation import flatten
from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.record import UNKNOWN, EpisodeRecord
from manyparts.evaluation.result_cells import cells_of, plain
from manyparts.evaluation.statistics import (
    Difference,
    Interval,
    bounded,
    difference,
    difference_of_success,
    mean_success,
    stratified_bootstrap,
    wilson,
)
from manyparts.models.run_files import results_folder

RESULTS = "results.json"
EVALUATION = "evaluation"  # the usual folder of results in a run's folder
MEASURES = ("success_any", "success_last", "return", "length")
_SUCCESSES = ("success_any", "success_last")
_WITHOUT_SUCCESS = ("return", "length")
_NAMED = 5  # tasks that a message names

# Provenance that must be equal in two results, so that their difference is one of the agents.
# Checkpoint, commit, config and dataset may differ: they are what is compared.
COMPARED_PROVENANCE = (
    "tasks",
    "episodes",
    "seeds.evaluation",
    "split",
    "prompts",
    "prompt_task",
    "max_steps",
    "until_success",
    "control_delay",
    "environment",
    "versions",
    "simulators",
    "renderer",
)
# Settings of an environment that decide only what an agent sees.
OBSERVED = ("image_size", "cameras", "goal", "state", "faithful_rendering")


@dataclass(frozen=True)
class Result:
    """What an evaluation measured: episodes, their summary with intervals, and provenance."""

    episodes: tuple[EpisodeRecord, ...]
    """In the order of tasks, then of index."""

    provenance: Mapping[str, Any]
    """Under which conditions, and of which agent, as plain JSON values."""

    def __repr__(self) -> str:
        tasks = counted(len(self.tasks), "task")
        episodes = counted(len(self.episodes), "episode")
        success = ""
        if self.episodes:
            known = self.aggregate.get("success_any")
            success = f": success {UNKNOWN if known is None else bounded(known)}"
        return f"Result({tasks}, {episodes}{success})"

    def _repr_html_(self) -> str:
        heads, rows, mean = self.table()
        return html_table(repr(self), heads, [*rows, *([] if mean is None else [mean])])

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...] | None]:
        """The table for people.

        Returns:
            Heads, a row of text for each task, and a last row with their mean if there are several
            tasks.
        """
        heads = ("task", "success", "at the end", *self.metrics, "return", "steps")
        known = len(self.known)
        wide = known < len(self.tasks)

        def cells(measures: Mapping[str, Interval]) -> tuple[str, ...]:
            return cells_of(measures, self.metrics, with_bounds=wide)

        rows = [(task, *cells(measures)) for task, measures in self.per_task.items()]
        if len(rows) < 2:
            return heads, rows, None
        _, success, *others = ("mean", *cells(self.aggregate))
        remark = f" of {counted(known, 'task')}" if 0 < known < len(self.tasks) else ""
        return heads, rows, ("mean", f"{success}{remark}", *others)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Full names of the tasks, in the order of their episodes."""
        return tuple(dict.fromkeys(episode.task for episode in self.episodes))

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The tasks that say when they are solved."""
        unknown = {episode.task for episode in self.episodes if episode.success_any is None}
        return tuple(task for task in self.tasks if task not in unknown)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the measures that the suites of these tasks have beyond `MEASURES`."""
        names = chain.from_iterable(episode.metrics for episode in self.episodes)
        return tuple(dict.fromkeys(names))

    def measures(self, task: str) -> tuple[str, ...]:
        """`MEASURES`, then those of the task's suite; without successes where nobody knows them."""
        own = next(episode.metrics for episode in self.episodes if episode.task == task)
        known = MEASURES if task in self.known else _WITHOUT_SUCCESS
        return (*known, *own)

    @cached_property
    def per_task(self) -> dict[str, dict[str, Interval]]:
        """Each task's measures with their intervals: Wilson's for successes, a bootstrap for all
        others."""
        return {
            task: {
                name: _of_one_task(name, self.values(name, task)) for name in self.measures(task)
            }
            for task in self.tasks
        }

    @cached_property
    def aggregate(self) -> dict[str, Interval]:
        """The mean of each measure over the tasks that have it, with a bootstrap interval
        stratified by task. A measure that no task has is left out."""
        strata = {
            name: [self.values(name, task) for task in self.tasks if name in self.measures(task)]
            for name in (*MEASURES, *self.metrics)
        }
        return {
            name: mean_success(values) if name in _SUCCESSES else stratified_bootstrap(values)
            for name, values in strata.items()
            if values
        }

    def values(self, measure: str, task: str) -> np.ndarray:
        """A measure of every episode of a task.

        Args:
            measure: name of the measure, see `EpisodeRecord.measure`.
            task: the task's name, "suite/task".

        Returns:
            (n,) of the task's n episodes.
        """
        return np.array(
            [episode.measure(measure) for episode in self.episodes if episode.task == task]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as in results.json."""
        counts = {
            task: sum(episode.task == task for episode in self.episodes) for task in self.tasks
        }
        # Written only where success is unknown: of how many tasks the mean is.
        known = {} if self.known == self.tasks else {"tasks_with_success": len(self.known)}
        return {
            "aggregate": plain(self.aggregate, MEASURES)
            | {"episodes": len(self.episodes), "tasks": len(self.tasks), **known},
            "per_task": {
                task: plain(measures, MEASURES) | {"episodes": counts[task]}
                for task, measures in self.per_task.items()
            },
            "episodes": [episode.to_dict() for episode in self.episodes],
            "provenance": dict(self.provenance),
        }

    def save(self, folder: Path) -> None:
        """Write results.json, all of it or nothing."""
        write_atomically(folder / RESULTS, json.dumps(self.to_dict(), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a results.json.

        Args:
            path: the file, an evaluation's folder, or a run's folder.

        Raises:
            UserError: there is no such file, or it cannot be read.
        """
        path = path_of(path, "result")
        candidates = [
            path,
            path / RESULTS,
            path / EVALUATION / RESULTS,
            results_folder(path, EVALUATION) / RESULTS,
        ]
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            raise UserError(
                f"{path} has no {RESULTS}; evaluate it first: manyparts evaluate {path}"
            )
        try:
            values = json.loads(file.read_text())
            provenance = values["provenance"]
            if "prompts" in provenance:
                provenance["prompts"] = prompts_of_today(provenance["prompts"])
            return cls(tuple(map(EpisodeRecord.from_dict, values["episodes"])), provenance)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} is not the result of an evaluation ({error})") from None


@dataclass(frozen=True)
class Comparison:
    """How much result A is above result B."""

    measure: str
    """What is compared."""

    a: Interval
    """A's mean over the tasks that both results have."""

    b: Interval
    """B's mean over these tasks."""

    difference: Difference
    """A - B over all these tasks."""

    per_task: Mapping[str, Difference]
    """A - B for each task."""

    mismatches: tuple[str, ...]
    """Provenance that differs but should not."""

    def __repr__(self) -> str:
        tasks = counted(len(self.per_task), "task")
        means = f"A {self.a.mean:.2f}, B {self.b.mean:.2f}"
        difference = f"A - B {bounded(self.difference, signed=True)}"
        conditions = counted(len(self.mismatches), "condition")
        remark = f", which differ in {conditions}" if self.mismatches else ""
        return f"Comparison({self.measure} over {tasks}: {means}, {difference}{remark})"

    def _repr_html_(self) -> str:
        return f"{html_table(repr(self), *self.table())}<p>{self.scope}</p>"

    @property
    def scope(self) -> str:
        """What the intervals are over, in a sentence for people."""
        return (
            "95 % intervals, over the episodes of these two agents, not over training seeds: they "
            "say which of the two is better, not which method is"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The table for people: heads, and a row of text for each task and for their mean."""
        rows = [
            (name, bounded(each, signed=True), f"{each.probability:.2f}")
            for name, each in [*self.per_task.items(), ("mean", self.difference)]
        ]
        return ("task", "A - B", "probability that A is better"), rows


@explained()
def compare(
    a: Result | str | Path,
    b: Result | str | Path,
    *,
    allow_mismatch: bool = False,
    measure: str = "success_any",
) -> Comparison:
    """The difference A - B of a measure, paired by task, with its interval and the probability that
    A is better.

    The interval is over the episodes of these two agents, not over training seeds.

    Args:
        a: a result, or its folder or file.
        b: the same.
        allow_mismatch: compare although conditions differ, on the tasks that both have.
        measure: success_any, success_last, return, length, or a measure of the suite's own.

    Raises:
        UserError: the results were not measured under the same conditions; the message names what
            differs.
    """
    result_a = a if isinstance(a, Result) else Result.load(a)
    result_b = b if isinstance(b, Result) else Result.load(b)
    choices = (*MEASURES, *(name for name in result_a.metrics if name in result_b.metrics))
    if measure not in choices:
        raise UserError(f"unknown measure {measure!r}; choices: {', '.join(choices)}")
    mismatches = provenance_mismatches(result_a.provenance, result_b.provenance)
    if mismatches and not allow_mismatch:
        raise UserError(
            f"these results cannot be compared, they differ in {'; '.join(mismatches)} "
            "(--allow-mismatch compares them nevertheless)"
        )
    tasks = [task for task in result_a.tasks if task in result_b.tasks]
    if measure in _SUCCESSES:
        _require_known(tasks, result_a, result_b)
    tasks = [task for task in tasks if measure in result_a.measures(task)]
    if not tasks:
        raise UserError(
            f"no task in common: {first_of(result_a.tasks, _NAMED)} against "
            f"{first_of(result_b.tasks, _NAMED)}"
        )
    values_a = [result_a.values(measure, task) for task in tasks]
    values_b = [result_b.values(measure, task) for task in tasks]
    estimate = difference_of_success if measure in _SUCCESSES else difference
    per_task = {}
    for task, of_a, of_b in zip(tasks, values_a, values_b, strict=True):
        per_task[task] = estimate([of_a], [of_b])
    return Comparison(
        measure=measure,
        a=_restricted(result_a, tasks).aggregate[measure],
        b=_restricted(result_b, tasks).aggregate[measure],
        difference=estimate(values_a, values_b),
        per_task=per_task,
        mismatches=tuple(mismatches),
    )


def provenance_mismatches(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Each field of `COMPARED_PROVENANCE` in which two provenances disagree.

    If one of the two is of a reference, which observes nothing, fields on what is observed do not
    count.

    Args:
        a: the provenance of a result.
        b: that of another result.

    Returns:
        Lines such as "field: a's value, b's value", sorted by field.
    """
    flat_a, flat_b = _named_as_today(flatten(a)), _named_as_today(flatten(b))
    compared = [key for key in sorted(flat_a.keys() | flat_b.keys()) if _is_compared(key)]
    if "agent" in flat_a or "agent" in flat_b:
        compared = [key for key in compared if not _is_observed(key)]
    return [
        f"{key}: {flat_a.get(key)}, {flat_b.get(key)}"
        for key in compared
        if flat_a.get(key) != flat_b.get(key)
    ]


def _named_as_today(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, the version of this project under its name of today. Environments that do
    not say how long they hold an action could only hold it for a step."""
    former = f"versions.{FORMER_NAME}"
    today = {f"versions.{NAME}" if key == former else key: value for key, value in flat.items()}
    if "environment.max_steps" in today:
        held = "environment.action_repeat"
        today.setdefault(held, value_of_before(held))
    return today


def _is_compared(key: str) -> bool:
    return any(key == field or key.startswith(f"{field}.") for field in COMPARED_PROVENANCE)


def _is_observed(key: str) -> bool:
    """Whether a field decides only what an agent sees."""
    return key.startswith("environment.") and key.rpartition(".")[2] in OBSERVED


def _require_known(tasks: Sequence[str], *results: Result) -> None:
    """Raise UserError for the first task of which a result does not know the success."""
    for task in tasks:
        if any(task not in result.known for result in results):
            raise UserError(
                f"success of {task} is {UNKNOWN}, so it cannot be compared; choose another "
                "measure: return, length"
            )


def _restricted(result: Result, tasks: Sequence[str]) -> Result:
    return Result(
        tuple(episode for episode in result.episodes if episode.task in tasks), result.provenance
    )


def _of_one_task(name: str, values: np.ndarray) -> Interval:
    return (
        wilson(int(values.sum()), len(values))
        if name in _SUCCESSES
        else stratified_bootstrap([values])
    )
