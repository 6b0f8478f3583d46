"""Which pretraining objective suits a user's own data?

Without a simulator, methods are compared by action errors on held-out episodes, and by probes.
"""

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
_MIN_SCORED = 5  # episodes that are held out for scoring


@dataclass(frozen=True)
class Trial:
    """One seed of a method, tuned on some demonstrations of the held-out task."""

    method: str
    demonstrations: int
    seed: int
    score: Score
    """The stage that scores it."""


@dataclass(frozen=True)
class Row:
    """A method after a number of demonstrations."""

    method: str
    demonstrations: int
    seeds: int
    """The number of finished seeds."""
    episodes: int
    """The number of held-out episodes per seed."""
    error: float
    """The mean square error of actions on held-out episodes, divided by the actions' variance."""
    low: float
    """The lower end of its 95 % interval (`mean_over_seeds`)."""
    high: float
    """The upper end of its 95 % interval."""
    probe: float | None
    """The mean R² of a linear map to the state; None without states."""


def trials(
    location: str,
    holdout_task: str,
    *,
    objectives: Sequence[str] = (),
    demonstrations: Sequence[int] = (),
    seeds: int = 3,
    size: Size = "laptop",
) -> list[Trial]:
    """Return the trials that compare methods on a dataset.

    A method is pretrained on all other tasks, tuned on some episodes of the held-out task, and
    scored on its remaining episodes: the same for all methods, and at least five.

    Args:
        location: The dataset, as in `EpisodeDataset.open`.
        holdout_task: The held-out task's name or instruction.
        objectives: Names of `METHODS`; empty for all that the dataset allows.
        demonstrations: Numbers of episodes to tune on; empty for 1, 5 and 20, if there are enough.
        seeds: How many seeds of each method.
        size: The size of models and their training.

    Raises:
        UserError: The dataset has no such task, no other one, or too few episodes, a method is not
            possible, or something is named twice.
    """
    refuse_repeated("objectives", objectives)
    refuse_repeated("finetune_sizes", demonstrations)
    dataset = EpisodeDataset.open(location)
    task = _task_number(dataset, holdout_task)
    held_out = np.flatnonzero(dataset.episode_task == task)
    others = np.flatnonzero(dataset.episode_task != task)
    if not len(others):
        raise UserError(f"{location} has no other task than {holdout_task!r} to pretrain on")
    max_shots = len(held_out) - _MIN_SCORED
    shots = list(demonstrations) or [count for count in (1, 5, 20) if count <= max_shots]
    if not shots or max(shots) > max_shots or min(shots) < 1:
        raise UserError(
            f"{holdout_task!r} has {len(held_out)} episodes, of which {_MIN_SCORED} are kept for "
            f"scoring; demonstrations are {shots or 'at least 1'}"
        )
    methods = _methods(dataset, objectives)
    many = _cut(dataset, others)
    chosen: list[Trial] = []
    for seed in range(seeds):
        order = np.random.default_rng(derive_seed("offline", seed)).permutation(held_out)
        scored = _cut(dataset, order[max(shots) :])
        for method in methods:
            for count in shots:
                run = policy_of(method, size, seed, many, _cut(dataset, order[:count]))
                chosen.append(Trial(method, count, seed, Score(run, scored)))
    return chosen


def _task_number(dataset: EpisodeDataset, name: str) -> int:
    """Return the index of a task by its name or instruction."""
    numbers: dict[str, int] = {}
    for number, task in enumerate(dataset.tasks):
        numbers |= {task.name: number, task.instruction: number}
    if name not in numbers:
        choices = ", ".join(task.name for task in dataset.tasks)
        raise UserError(f"no task {name!r} in {dataset.location}; choices: {choices}")
    return numbers[name]


def _methods(dataset: EpisodeDataset, objectives: Sequence[str]) -> Sequence[str]:
    """Return the methods to compare: the chosen ones, else all that are possible."""
    possible = tuple(method for method in METHODS if not _missing(dataset, method))
    if not possible:
        raise UserError(f"{dataset.location} has neither images nor states to learn from")
    choices = ", ".join(possible)
    for method in objectives:
        if method not in METHODS:
            raise UserError(f"unknown objective {method!r}; choices: {choices}")
        if reason := _missing(dataset, method):
            raise UserError(f"{method} is not possible: {reason}; choices: {choices}")
    return objectives or possible


def _missing(dataset: EpisodeDataset, method: str) -> str:
    """Say what a method needs and does not have; empty if nothing."""
    if method == STATES:
        return "" if dataset.spec.state_names else f"{dataset.location} has no states"
    if not dataset.spec.cameras:
        return f"{dataset.location} has no images"
    if method == IMAGENET and not has_imagenet():
        return f"its weights are missing: {install_command('imagenet')}"
    return ""


def size_of(preset: str) -> Size:
    """Return a preset as the size of models and their training.

    Raises:
        UserError: There is no such preset.
    """
    if preset not in get_args(Size):
        raise UserError(f"unknown preset {preset!r}; choices: {', '.join(get_args(Size))}")
    return preset  # pyright: ignore[reportReturnType]


def stages_of(chosen: Sequence[Trial]) -> list[Stage]:
    """Return all stages of trials, each once, and after those that it needs."""
    return with_needs(trial.score for trial in chosen)


def gather(chosen: Sequence[Trial], output: Path) -> list[Row]:
    """Summarise the trials that are done: a row per method and number of demonstrations.

    Args:
        chosen: The trials of the study.
        output: The study's folder.

    Returns:
        Rows sorted by the number of demonstrations, then by their error.
    """
    cells: dict[tuple[int, str], list[Trial]] = {}
    for trial in chosen:
        if is_done(trial.score, output):
            cells.setdefault((trial.demonstrations, trial.method), []).append(trial)
    rows = [_row(seeds, output) for seeds in cells.values()]
    return sorted(rows, key=lambda row: (row.demonstrations, row.error))


def save(rows: Sequence[Row], output: Path) -> Path:
    """Write offline.json and return its path.

    Args:
        rows: What it holds, see `gather`.
        output: The study's folder.
    """
    path = output / RESULTS
    write_atomically(path, json.dumps([asdict(row) for row in rows], indent=1).encode())
    return path


def _row(seeds: Sequence[Trial], output: Path) -> Row:
    scores = [json.loads(product(trial.score, output).read_text()) for trial in seeds]
    errors = np.asarray([score["action_errors"] for score in scores])  # (seeds, episodes)
    error = mean_over_seeds(errors[None], successes=False)
    probes: list[float] = []
    for score in scores:
        linear = score["probes"]["linear"]
        probes += [value for name, value in linear.items() if not name.startswith("goal")]
    return Row(
        method=seeds[0].method,
        demonstrations=seeds[0].demonstrations,
        seeds=errors.shape[0],
        episodes=errors.shape[1],
        error=error.mean,
        low=max(error.low, 0.0),
        high=error.high,
        probe=float(np.mean(probes)) if probes else None,
    )


def _cut(dataset: EpisodeDataset, episodes: np.ndarray) -> Cut:
    return Cut(dataset.location, dataset.fingerprint, tuple(sorted(map(int, episodes))))
