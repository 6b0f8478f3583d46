"""The stages of a study: collect, cut or export data, train, evaluate, score or probe.

A stage holds the stages that it needs. Its key is a hash of its content, so that equal stages are
done once, and a changed stage is done again. Fields without a docstring are arguments of the
function that does the stage.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from manyparts.agents.expert import Noise
from manyparts.core.errors import UserError
from manyparts.core.serialisation import content_hash, from_jsonable, to_jsonable
from manyparts.core.storage.atomic import write_atomically
from manyparts.envs.base import EnvConfig, Split
from manyparts.evaluation.episodes import Reference
from manyparts.evaluation.prompt_kinds import Prompts
from manyparts.planners import PlannerConfig
from manyparts.training.config import TrainConfig

STAGES = "stages"  # the folder of all stages, in that of the study
# Files in a stage's folder:
DESCRIPTION = "stage.json"  # what to do
LOG = "log.txt"
SPENT = "spent.json"  # seconds and core seconds until now
DONE = "done.json"  # facts about a stage that is done
DONE_BEFORE = "done_before.json"  # those of a stage that is done once more, until it is


class _Keyed:
    """A stage. Its key is a hash of its content, including all stages that it needs.

    Fields with their default value do not count, so that a new field changes no key of a stage that
    is done.
    """

    @cached_property
    def key(self) -> str:
        return content_hash(self, defaults=False)


@dataclass(frozen=True)
class Collect(_Keyed):
    """Record demonstrations of the tasks' experts."""

    tasks: tuple[str, ...]
    episodes: int
    """Successes per task."""
    seed: int = 0
    environment: EnvConfig = EnvConfig()
    noise: Noise = Noise()
    keep_failures: bool = False
    """Whether failed tries are kept, too: they show dynamics as well."""
    steps_after_success: int | None = None
    """Steps that are kept after the first solved one; None for the suite's default."""


@dataclass(frozen=True)
class Cut(_Keyed):
    """Copy some episodes of a dataset that a user has."""

    location: str
    """As in `EpisodeDataset.open`."""
    fingerprint: str
    """The hash of the dataset's content."""
    episodes: tuple[int, ...]
    """Indices of the episodes."""


@dataclass(frozen=True)
class Mixed:
    """Several datasets, which are mixed in every batch."""

    datasets: tuple[Collect | Export, ...]
    weights: tuple[float, ...] = ()
    """The relative number of windows from each; empty for equal numbers."""


@dataclass(frozen=True)
class Train(_Keyed):
    """Train one run."""

    config: TrainConfig
    data: Collect | Cut | Mixed
    start_from: Train | None = None
    """The run that gives the initial weights."""
    agent: str | None = None
    """The shipped agent that gives them instead, by its name."""


@dataclass(frozen=True)
class TrainOnline(_Keyed):
    """Train one run that acts while it learns. Its config evaluates nothing at the end."""

    config: TrainConfig
    task: str
    """The task to act in, "suite/task"."""
    environment: EnvConfig = EnvConfig()
    sources: tuple[Collect | Export, ...] = ()
    teachers: Train | None = None
    start_from: Train | None = None
    """The run that gives the initial weights of the world model, and its scales."""
    keep_replay: bool = False
    """Whether the replay stays when the run is done, for `Export`."""


@dataclass(frozen=True)
class Export(_Keyed):
    """Write the replay of a run that acted as a dataset."""

    run: TrainOnline


Run = Train | TrainOnline


@dataclass(frozen=True)
class Evaluate(_Keyed):
    """Evaluate a run."""

    run: Train | TrainOnline
    tasks: tuple[str, ...]
    episodes: int
    """Episodes per task."""
    seed: int = 0
    """The seed of the goals, which is the same for all runs that are compared."""
    prompts: Prompts = "instruction"
    max_steps: int | None = None
    split: Split = "evaluation"
    until_success: bool = True
    """Whether an episode ends when it is solved."""
    planner: PlannerConfig | None = None
    """What plans with a dynamics model."""


@dataclass(frozen=True)
class EvaluateReference(_Keyed):
    """Evaluate the expert or random actions on the same episodes as `Evaluate`, each to its end."""

    agent: Reference
    tasks: tuple[str, ...]
    episodes: int
    """Episodes per task."""
    seed: int = 0
    environment: EnvConfig = EnvConfig()
    max_steps: int | None = None
    split: Split = "evaluation"


@dataclass(frozen=True)
class Score(_Keyed):
    """Measure a policy's action errors on held-out episodes, and probe its representation."""

    run: Train
    data: Cut
    """The held-out episodes."""


@dataclass(frozen=True)
class Probe(_Keyed):
    """Predict the state and the goal from a run's representation, with simple models."""

    run: Train
    data: Collect
    """Demonstrations that the run was not trained on."""


Stage = Collect | Cut | Export | Train | TrainOnline | Evaluate | EvaluateReference | Score | Probe
_KINDS: dict[str, type[Any]] = {
    "collect": Collect,
    "cut": Cut,
    "export": Export,
    "train": Train,
    "online": TrainOnline,
    "evaluate": Evaluate,
    "reference": EvaluateReference,
    "score": Score,
    "probe": Probe,
}


def label(stage: Stage) -> str:
    """Describe a stage in a few words, such as "train-phase1-seed0"."""
    if isinstance(stage, Train):
        return f"train-{_run_label(stage)}"
    if isinstance(stage, TrainOnline):
        return f"online-{_run_label(stage)}-{_named((stage.task,))}"
    if isinstance(stage, Export):
        return f"export-{_named((stage.run.task,))}"
    if isinstance(stage, EvaluateReference):
        return f"reference-{stage.agent}-{_named(stage.tasks)}"
    if isinstance(stage, Evaluate):
        return f"evaluate-{_run_label(stage.run)}-{_named(stage.tasks)}"
    if isinstance(stage, Score | Probe):
        return f"{type(stage).__name__.lower()}-{_run_label(stage.run)}"
    if isinstance(stage, Cut):
        return f"cut-{len(stage.episodes)}-episodes"
    return f"collect-{_named(stage.tasks)}-{stage.episodes}"


def folder(stage: Stage, output: Path) -> Path:
    """Return the folder of a stage: OUTPUT/stages/<label>-<key>.

    Args:
        stage: The stage.
        output: The study's folder.
    """
    return output / STAGES / f"{label(stage)}-{stage.key}"


def product(stage: Stage, output: Path) -> Path:
    """Return the path of what a stage makes: a dataset, a run, results or scores.

    Args:
        stage: The stage; it need not be done.
        output: The study's folder.
    """
    names: dict[type[Any], str] = {
        Collect: "data",
        Cut: "data",
        Export: "data",
        Train: "run",
        TrainOnline: "run",
        Evaluate: "evaluation",
        EvaluateReference: "evaluation",
        Score: "score.json",
        Probe: "probe.json",
    }
    return folder(stage, output) / names[type(stage)]


def needs(stage: Stage) -> list[Stage]:
    """Return the stages that must be done right before this one."""
    values = [getattr(stage, item.name) for item in fields(stage)]
    for value in list(values):
        if isinstance(value, Mixed):
            values += value.datasets
        elif isinstance(value, tuple):
            values += value
    return [value for value in values if isinstance(value, Stage)]


def with_needs(wanted: Iterable[Stage]) -> list[Stage]:
    """Return stages and all that they need, each once, and after those that it needs."""
    stages: dict[str, Stage] = {}  # by key

    def add(stage: Stage) -> None:
        if stage.key not in stages:
            for needed in needs(stage):
                add(needed)
            stages[stage.key] = stage

    for stage in wanted:
        add(stage)
    return list(stages.values())


def lineage(run: Train) -> Iterator[Train]:
    """Yield the run, the run that it started from, and so on."""
    stage: Train | None = run
    while stage is not None:
        yield stage
        stage = stage.start_from


def runs_before(run: Run) -> list[Run]:
    """Return all runs that lead to a run, and the run itself as the last.

    These are what it starts from, its teachers, and what acted for its sources.
    """
    return [stage for stage in with_needs([run]) if isinstance(stage, Run)]


def optimiser_steps(run: Run) -> int:
    """Return how many optimiser steps a run takes, which follow from its schedule if it acts."""
    config = run.config
    if config.online is None:
        return config.steps
    replayed = config.batch_size * config.window.steps
    return config.online.updates(config.online.environment_steps, replayed)


def is_done(stage: Stage, output: Path) -> bool:
    """Return whether a stage is done; its product may be missing, see `left_to_do`.

    Args:
        stage: The stage.
        output: The study's folder.
    """
    return (folder(stage, output) / DONE).exists()


def left_to_do(stages: Sequence[Stage], output: Path) -> list[Stage]:
    """Return the stages that must be done, in their order.

    These are stages that were never done, and stages with a missing product that one of these
    needs, as in an archive that left out data and weights.

    Args:
        stages: Each after those that it needs.
        output: The study's folder.
    """
    left: list[Stage] = []
    needed: set[str] = set()
    for stage in reversed(stages):  # so that it is known what later stages need
        whole = is_done(stage, output) and _has_product(stage, output)
        if not _was_done(stage, output) or (stage.key in needed and not whole):
            left.append(stage)
            needed |= {needed_stage.key for needed_stage in needs(stage)}
    return left[::-1]


def redo(stage: Stage, output: Path) -> None:
    """Let a stage that is done, but lacks its product, be done once more.

    Its `facts` are kept until then; those of the second time replace them, so that its time counts
    once.

    Args:
        stage: The stage.
        output: The study's folder.
    """
    stage_folder = folder(stage, output)
    shutil.rmtree(product(stage, output), ignore_errors=True)
    (stage_folder / SPENT).unlink(missing_ok=True)
    (stage_folder / DONE).replace(stage_folder / DONE_BEFORE)


def _was_done(stage: Stage, output: Path) -> bool:
    """Return whether a stage is done, or was and is being done once more."""
    return any((folder(stage, output) / name).exists() for name in (DONE, DONE_BEFORE))


def _has_product(stage: Stage, output: Path) -> bool:
    path = product(stage, output)
    return (path / "checkpoints").exists() if isinstance(stage, Run) else path.exists()


def facts(stage: Stage, output: Path) -> dict[str, Any]:
    """Return the facts about a stage that is done, or was and is being done once more.

    Args:
        stage: The stage.
        output: The study's folder.

    Returns:
        `seconds` by the clock and `core_seconds` of computing, of all processes that worked on the
        stage, but for those that were killed outright. Of a run also `parameters` (all that are
        learned), `trained_parameters` (those of this run) and `train_seconds` (within optimiser
        steps).
    """
    done, before = (folder(stage, output) / name for name in (DONE, DONE_BEFORE))
    return json.loads((done if done.exists() else before).read_text())


def write_description(stage: Stage, output: Path) -> Path:
    """Make the stage's folder with a description for `read_description`; return the folder.

    Args:
        stage: The stage.
        output: The study's folder.
    """
    stage_folder = folder(stage, output)
    stage_folder.mkdir(parents=True, exist_ok=True)
    description = json.dumps(to_jsonable(stage), indent=1)
    write_atomically(stage_folder / DESCRIPTION, description.encode())
    return stage_folder


def read_description(stage_folder: Path) -> Stage:
    """Return the stage of a folder.

    Raises:
        UserError: Another version of the code wrote it, so that it has another key now.
    """
    values = json.loads((stage_folder / DESCRIPTION).read_text())
    stage = from_jsonable(_KINDS[stage_folder.name.partition("-")[0]], values)
    if stage_folder.name != folder(stage, stage_folder.parent).name:
        raise UserError(f"{stage_folder} does not hold the stage of its name; delete it")
    return stage


def one_process(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Return a config for a stage: with one process, since stages share the cores."""
    return replace(config, processes=1, **changes)


def _run_label(run: Run) -> str:
    return f"{run.config.phase}-seed{run.config.seed}"


def _named(tasks: tuple[str, ...]) -> str:
    return tasks[0].replace("/", "-") if len(tasks) == 1 else f"{len(tasks)}-tasks"
