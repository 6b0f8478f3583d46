"""Which pretraining objective suits a user's own data? Held-out action error and probes, where no
simulator exists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command
from manyparts.core.randomness import derive_seed
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.dataset import EpisodeDataset
from manyparts.evaluation.statistics import mean_over_seeds
from manyparts.methods.inverse_dynamics import Size
from manyparts.models.frozen_images import has_imagenet
from manyparts.studies.engine.stages import Cut, Score, Stage, is_done, product, with_needs
from manyparts.studies.library.representations import (
    IMAGENET,
    METHODS,
    STATES,
    policy_of,
    refuse_repeated,
)

RESULTS = "offline.json"
_LEAST_KEPT = 5


@dataclass(frozen=True)
class Trial:
    """One seed of a method after so many demonstrations of the task that pretraining never saw."""

    method: str
    demonstrations: int
    seed: int
    score: Score


@dataclass(frozen=True)
class Row:
    """error, low, high: mean square error of actions on episodes kept apart, as a part of the
    actions' variance, with a 95 % interval (`mean_over_seeds`). probe: mean R^2 of a linear map to
    the state; None without one."""

    method: str
    demonstrations: int
    seeds: int
    episodes: int
    error: float
    low: float
    high: float
    probe: float | None


def trials(
    location: str,
    holdout_task: str,
    *,
    objectives: Sequence[str] = (),
    demonstrations: Sequence[int] = (),
    seeds: int = 3,
    size: Size = "laptop",
) -> list[Trial]:
    """Pretraining on all other tasks of a dataset, tuning on a few episodes of `holdout_task` (its
    name or instruction), scoring on the rest of them: the same for all, and at least five.
    objectives: of `METHODS`; empty: all that the dataset allows. demonstrations: empty: 1, 5 and 20
    as far as there are enough.

    Raises UserError where the dataset has no such task, no other one, or too few episodes, or
    something is named twice.
    """
    refuse_repeated("objectives", objectives)
    refuse_repeated("finetune_sizes", demonstrations)
    dataset = EpisodeDataset.open(location)
    names = {
        name: number
        for number, task in enumerate(dataset.tasks)
        for name in (task.name, task.instruction)
    }
    if holdout_task not in names:
        raise UserError(
            f"no task {holdout_task!r} in {location}; choices: {', '.join(t.name for t in dataset.tasks)}"
        )
    ours = np.flatnonzero(dataset.episode_task == names[holdout_task])
    others = np.flatnonzero(dataset.episode_task != names[holdout_task])
    if not len(others):
        raise UserError(f"{location} has no other task than {holdout_task!r} to pretrain on")
    most = len(ours) - _LEAST_KEPT
    shots = list(demonstrations) or [count for count in (1, 5, 20) if count <= most]
    if not shots or max(shots) > most or min(shots) < 1:
        raise UserError(
            f"{holdout_task!r} has {len(ours)} episodes, of which {_LEAST_KEPT} are kept for scoring; demonstrations "
            f"are {shots or 'at least 1'}"
        )
    known = _possible(dataset)
    for each in objectives:
        if each not in METHODS:
            raise UserError(f"unknown objective {each!r}; choices: {', '.join(known)}")
        if each not in known:
            raise UserError(
                f"{each} is not possible: {_missing(dataset, each)}; choices: {', '.join(known)}"
            )
    before = _cut(dataset, others)
    found = []
    for seed in range(seeds):
        order = np.random.default_rng(derive_seed("offline", seed)).permutation(ours)
        kept = _cut(dataset, order[max(shots) :])
        for method in objectives or known:
            for count in shots:
                run = policy_of(method, size, seed, before, _cut(dataset, order[:count]))
                found.append(Trial(method, count, seed, Score(run, kept)))
    return found


def _possible(dataset: EpisodeDataset) -> tuple[str, ...]:
    """The methods that have what they need. Raises UserError where none has."""
    known = tuple(method for method in METHODS if not _missing(dataset, method))
    if not known:
        raise UserError(f"{dataset.location} has neither pictures nor states to learn from")
    return known


def _missing(dataset: EpisodeDataset, method: str) -> str:
    """What a method needs and does not find, in words; empty: nothing."""
    if method == STATES:
        return "" if dataset.spec.state_names else f"{dataset.location} has no states"
    if not dataset.spec.cameras:
        return f"{dataset.location} has no pictures"
    if method == IMAGENET and not has_imagenet():
        return f"its weights are missing: {install_command('imagenet')}"
    return ""


def size_of(preset: str) -> Size:
    """The size of models and schedules of a preset. Raises UserError for an unknown one."""
    if preset not in get_args(Size):
        raise UserError(f"unknown preset {preset!r}; choices: {', '.join(get_args(Size))}")
    return preset  # pyright: ignore[reportReturnType]


def stages_of(chosen: Sequence[Trial]) -> list[Stage]:
    """Every stage once, those it needs before it."""
    return with_needs(trial.score for trial in chosen)


def gather(chosen: Sequence[Trial], output: Path) -> list[Row]:
    """A row for each method and number of demonstrations whose stages are done, the least error
    first."""
    cells: dict[tuple[int, str], list[Trial]] = {}
    for trial in chosen:
        if is_done(trial.score, output):
            cells.setdefault((trial.demonstrations, trial.method), []).append(trial)
    rows = [_row(found, output) for found in cells.values()]
    return sorted(rows, key=lambda row: (row.demonstrations, row.error))


def save(rows: Sequence[Row], output: Path) -> Path:
    """Write offline.json and return its path."""
    path = output / RESULTS
    write_atomically(path, json.dumps([asdict(row) for row in rows], indent=1).encode())
    return path


def _row(found: Sequence[Trial], output: Path) -> Row:
    told = [json.loads(product(trial.score, output).read_text()) for trial in found]
    errors = np.asarray([each["action_errors"] for each in told])
    over = mean_over_seeds(errors[None])
    probes = [
        value
        for each in told
        for name, value in each["probes"]["linear"].items()
        if not name.startswith("goal")
    ]
    return Row(
        method=found[0].method,
        demonstrations=found[0].demonstrations,
        seeds=errors.shape[0],
        episodes=errors.shape[1],
        error=over.mean,
        low=max(over.low, 0.0),
        high=over.high,
        probe=float(np.mean(probes)) if probes else None,
    )


def _cut(dataset: EpisodeDataset, episodes: np.ndarray) -> Cut:
    return Cut(dataset.location, dataset.fingerprint, tuple(sorted(map(int, episodes))))
