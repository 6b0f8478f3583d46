"""What an evaluation found: episodes, their summary with intervals, and where it all comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.arguments import explained, path_of
from manyparts.core.errors import UserError
from manyparts.core.naming import FORMER_NAME, NAME, prompts_of_today
from manyparts.core.printing import html_table, shown_short
from manyparts.core.serialisation import flatten, from_jsonable
from manyparts.core.storage.atomic import write_atomically
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
EVALUATION = "evaluation"  # where in a run's folder its results are, where nobody says otherwise
PROMPTS = "prompts.json"
MEASURES = ("success_any", "success_last", "return", "length")
_SUCCESSES = ("success_any", "success_last")

# What two results must share for their difference to be the agents' own. Checkpoint, commit, config
# and dataset may differ: they are what is compared.
COMPARED_PROVENANCE = (
    "tasks",
    "episodes",
    "seeds.evaluation",
    "split",
    "prompts",
    "max_steps",
    "until_success",
    "environment",
    "versions",
    "simulators",
    "renderer",
)
# Settings of an environment that only decide what an agent sees.
OBSERVED = ("image_size", "cameras", "goal", "state", "faithful_rendering")


@dataclass(frozen=True)
class EpisodeRecord:
    """One evaluated episode. index: its number within the task; seed: the environment's; prompt:
    None without one.

    metrics: the suite's own measures by name, such as "spl".
    """

    task: str
    index: int
    seed: int
    prompt: str | None
    success_any: bool
    success_last: bool
    return_: float
    length: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def measure(self, name: str) -> float:
        if name in self.metrics:
            return float(self.metrics[name])
        return float(getattr(self, "return_" if name == "return" else name))

    def to_dict(self) -> dict[str, Any]:
        return {key.rstrip("_"): value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpisodeRecord:
        return cls(
            **{"return_" if key == "return" else key: value for key, value in values.items()}
        )


@dataclass(frozen=True)
class Result:
    """episodes: in the order of tasks, then of index. provenance: plain JSON values."""

    episodes: tuple[EpisodeRecord, ...]
    provenance: Mapping[str, Any]

    def __repr__(self) -> str:
        count = f"{len(self.tasks)} task{'s' if len(self.tasks) != 1 else ''}, {len(self.episodes)} episodes"
        success = f": success {bounded(self.aggregate['success_any'])}" if self.episodes else ""
        return f"Result({count}{success})"

    def _repr_html_(self) -> str:
        heads, rows, mean = self.table()
        return html_table(repr(self), heads, [*rows, *([] if mean is None else [mean])])

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...] | None]:
        """What is shown to people: heads, a row of text for each task, and of several tasks that of
        their mean."""
        heads = ("task", "success", "at the end", *self.metrics, "return", "steps")
        rows = [(task, *_cells(measures, self.metrics)) for task, measures in self.per_task.items()]
        return (
            heads,
            rows,
            ("mean", *_cells(self.aggregate, self.metrics)) if len(rows) > 1 else None,
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(episode.task for episode in self.episodes))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the measures that the suites of these tasks have beyond `MEASURES`."""
        return tuple(dict.fromkeys(name for episode in self.episodes for name in episode.metrics))

    def measures(self, task: str) -> tuple[str, ...]:
        """`MEASURES`, then those of the task's suite."""
        own = next(episode.metrics for episode in self.episodes if episode.task == task)
        return (*MEASURES, *own)

    @cached_property
    def per_task(self) -> dict[str, dict[str, Interval]]:
        """Task to measure to interval: Wilson's for successes, a bootstrap for return, length and
        the suite's own."""
        return {
            task: {
                name: _of_one_task(name, self.values(name, task)) for name in self.measures(task)
            }
            for task in self.tasks
        }

    @cached_property
    def aggregate(self) -> dict[str, Interval]:
        """Measure to its mean over the tasks that have it, with a bootstrap interval stratified by
        task."""
        strata = {
            name: [self.values(name, task) for task in self.tasks if name in self.measures(task)]
            for name in (*MEASURES, *self.metrics)
        }
        return {
            name: mean_success(values) if name in _SUCCESSES else stratified_bootstrap(values)
            for name, values in strata.items()
        }

    def values(self, measure: str, task: str) -> np.ndarray:
        """A measure of every episode of a task, float64 (n,)."""
        return np.array(
            [episode.measure(measure) for episode in self.episodes if episode.task == task]
        )

    def to_dict(self) -> dict[str, Any]:
        counts = {
            task: sum(episode.task == task for episode in self.episodes) for task in self.tasks
        }
        return {
            "aggregate": _plain(self.aggregate)
            | {"episodes": len(self.episodes), "tasks": len(self.tasks)},
            "per_task": {
                task: _plain(found) | {"episodes": counts[task]}
                for task, found in self.per_task.items()
            },
            "episodes": [episode.to_dict() for episode in self.episodes],
            "provenance": dict(self.provenance),
        }

    def save(self, folder: Path) -> None:
        """Write results.json, all of it or nothing."""
        write_atomically(folder / RESULTS, json.dumps(self.to_dict(), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a results.json, or that of an evaluation or run folder. Raises UserError if there is
        none."""
        path = path_of(path, "result")
        tried = [
            path,
            path / RESULTS,
            path / EVALUATION / RESULTS,
            results_folder(path, EVALUATION) / RESULTS,
        ]
        found = next((candidate for candidate in tried if candidate.is_file()), None)
        if found is None:
            raise UserError(
                f"{path} has no {RESULTS}; evaluate it first: manyparts evaluate {path}"
            )
        try:
            values = json.loads(found.read_text())
            provenance = values["provenance"]
            if "prompts" in provenance:
                provenance["prompts"] = prompts_of_today(provenance["prompts"])
            return cls(tuple(map(EpisodeRecord.from_dict, values["episodes"])), provenance)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{found} is not the result of an evaluation ({error})") from None


@shown_short
@dataclass(frozen=True)
class PromptStudy:
    """How far success follows the prompt. episodes: a task and prompt. kinds: success over all
    tasks under each kind of prompt. matrix: success in the scenes of a task (second key) while told
    another (first key), by `matrix_with`.
    """

    episodes: int
    matrix_with: str
    kinds: Mapping[str, Interval]
    matrix: Mapping[str, Mapping[str, Interval]]

    @classmethod
    def load(cls, run: Path) -> PromptStudy | None:
        """That of a run folder, or None without one. Raises UserError if it cannot be read."""
        path = results_folder(run, "prompts") / PROMPTS
        if not path.exists():
            return None
        try:
            study = from_jsonable(cls, json.loads(path.read_text(encoding="utf-8")))
            return replace(
                study, kinds={prompts_of_today(kind): found for kind, found in study.kinds.items()}
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read {path}: {error}; write it anew: manyparts prompts {run}"
            ) from None


@dataclass(frozen=True)
class Comparison:
    """How much A is above B: over all tasks, and for each. mismatches: provenance that differs but
    should not."""

    measure: str
    a: Interval
    b: Interval
    difference: Difference
    per_task: Mapping[str, Difference]
    mismatches: tuple[str, ...]

    def __repr__(self) -> str:
        over = f"{len(self.per_task)} task{'s' if len(self.per_task) != 1 else ''}"
        means = f"A {self.a.mean:.2f}, B {self.b.mean:.2f}, A - B {bounded(self.difference, signed=True)}"
        different = (
            f", which differ in {len(self.mismatches)} conditions" if self.mismatches else ""
        )
        return f"Comparison({self.measure} over {over}: {means}{different})"

    def _repr_html_(self) -> str:
        return html_table(repr(self), *self.table())

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """What is shown to people: heads, and a row of text for each task and for their mean."""
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

    Raises UserError naming the fields if the two were not measured under the same conditions;
    `allow_mismatch` compares them all the same, on the tasks that both have.
    """
    one, other = (
        result if isinstance(result, Result) else Result.load(result) for result in (a, b)
    )
    known = (*MEASURES, *(name for name in one.metrics if name in other.metrics))
    if measure not in known:
        raise UserError(f"unknown measure {measure!r}; choices: {', '.join(known)}")
    mismatches = provenance_mismatches(one.provenance, other.provenance)
    if mismatches and not allow_mismatch:
        raise UserError(
            f"these results cannot be compared, they differ in {'; '.join(mismatches)} (--allow-mismatch)"
        )
    tasks = [task for task in one.tasks if task in other.tasks and measure in one.measures(task)]
    if not tasks:
        raise UserError(
            f"no task in common: {', '.join(one.tasks)} against {', '.join(other.tasks)}"
        )
    ours, theirs = ([result.values(measure, task) for task in tasks] for result in (one, other))
    estimate = _difference_of(measure)
    return Comparison(
        measure=measure,
        a=_restricted(one, tasks).aggregate[measure],
        b=_restricted(other, tasks).aggregate[measure],
        difference=estimate(ours, theirs),
        per_task={task: estimate([x], [y]) for task, x, y in zip(tasks, ours, theirs, strict=True)},
        mismatches=tuple(mismatches),
    )


def provenance_mismatches(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Each field of `COMPARED_PROVENANCE` in which two provenances disagree, as "field: a's, b's".
    Where one of the two is a reference, which looks at nothing, what is to be seen is none of
    them."""
    ours, theirs = _named_as_today(flatten(a)), _named_as_today(flatten(b))
    compared = [key for key in sorted(ours.keys() | theirs.keys()) if _is_compared(key)]
    if "agent" in ours or "agent" in theirs:
        compared = [key for key in compared if not _is_observed(key)]
    return [
        f"{key}: {ours.get(key)}, {theirs.get(key)}"
        for key in compared
        if ours.get(key) != theirs.get(key)
    ]


def _named_as_today(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The version of this project is one field, whichever name the project had when it was
    written."""
    former = f"versions.{FORMER_NAME}"
    return {f"versions.{NAME}" if key == former else key: value for key, value in flat.items()}


def _is_compared(key: str) -> bool:
    return any(key == field or key.startswith(f"{field}.") for field in COMPARED_PROVENANCE)


def _is_observed(key: str) -> bool:
    return key.startswith("environment.") and key.rpartition(".")[2] in OBSERVED


def _difference_of(
    measure: str,
) -> Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], Difference]:
    return difference_of_success if measure in _SUCCESSES else difference


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


def _plain(measures: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: asdict(interval) for name, interval in measures.items()}


def _cells(measures: Mapping[str, Interval], metrics: Sequence[str]) -> tuple[str, ...]:
    """What a table shows of a task: success, success at the end, the suite's own measures, return
    and steps."""
    own = (bounded(measures[metric]) if metric in measures else "" for metric in metrics)
    averages = f"{measures['return'].mean:.1f}", f"{measures['length'].mean:.0f}"
    return (
        bounded(measures["success_any"]),
        f"{measures['success_last'].mean:.2f}",
        *own,
        *averages,
    )
