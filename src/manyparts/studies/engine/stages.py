"""The stages of a study: collect or cut data, train, evaluate, score or probe.

A stage holds those it needs, and its content is its name.
"""

from __future__ import annotations

import json
import os
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

STAGES, DONE, DESCRIPTION, LOG, SPENT = "stages", "done.json", "stage.json", "log.txt", "spent.json"
DONE_BEFORE = "done_before.json"  # of a stage that is made anew, until it is done


class _Keyed:
    """Of equal content, equal key; a stage's content includes all stages it needs. What has its
    default value does not count, so that an option that comes later renames nothing that is
    done."""

    @cached_property
    def key(self) -> str:
        return content_hash(self, defaults=False)


@dataclass(frozen=True)
class Collect(_Keyed):
    """Demonstrations of the tasks' experts. keep_failures: also attempts that failed, which show
    dynamics as well."""

    tasks: tuple[str, ...]
    episodes: int
    seed: int = 0
    environment: EnvConfig = EnvConfig()
    noise: Noise = Noise()
    keep_failures: bool = False


@dataclass(frozen=True)
class Cut(_Keyed):
    """Some episodes of a dataset that a user has. location: see `EpisodeDataset.open`; fingerprint:
    of its content."""

    location: str
    fingerprint: str
    episodes: tuple[int, ...]


@dataclass(frozen=True)
class Mixed:
    """Several datasets in every batch. weights: how much each gives; none: each as much."""

    datasets: tuple[Collect, ...]
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Train(_Keyed):
    """One run: `config` on `data`, from the weights of `start_from`."""

    config: TrainConfig
    data: Collect | Cut | Mixed
    start_from: Train | None = None


@dataclass(frozen=True)
class Evaluate(_Keyed):
    """`run` on `episodes` episodes of each task, each until it is solved, or to its end. seed: of
    the goals, the same for all that are compared. planner: what a dynamics model acts with."""

    run: Train
    tasks: tuple[str, ...]
    episodes: int
    seed: int = 0
    prompts: Prompts = "instruction"
    max_steps: int | None = None
    split: Split = "evaluation"
    until_success: bool = True
    planner: PlannerConfig | None = None


@dataclass(frozen=True)
class EvaluateReference(_Keyed):
    """The expert or random actions on the episodes that `Evaluate` meets, each to its end."""

    agent: Reference
    tasks: tuple[str, ...]
    episodes: int
    seed: int = 0
    environment: EnvConfig = EnvConfig()
    max_steps: int | None = None
    split: Split = "evaluation"


@dataclass(frozen=True)
class Score(_Keyed):
    """How far the actions of `run`, a policy over a representation, are from those of episodes kept
    from it; and what of the state can be read off the representation."""

    run: Train
    data: Cut


@dataclass(frozen=True)
class Probe(_Keyed):
    """What of the state, and of the goal, can be read off the representation of `run`, on
    demonstrations of others."""

    run: Train
    data: Collect


Stage = Collect | Cut | Train | Evaluate | EvaluateReference | Score | Probe
_KINDS: dict[str, type[Any]] = {
    "collect": Collect,
    "cut": Cut,
    "train": Train,
    "evaluate": Evaluate,
    "reference": EvaluateReference,
    "score": Score,
    "probe": Probe,
}


def label(stage: Stage) -> str:
    """A few words for people, made of the stage's content: "train-phase1-seed0"."""
    if isinstance(stage, Train):
        return f"train-{stage.config.phase}-seed{stage.config.seed}"
    if isinstance(stage, EvaluateReference):
        return f"reference-{stage.agent}-{_named(stage.tasks)}"
    if isinstance(stage, Evaluate):
        return (
            f"evaluate-{stage.run.config.phase}-seed{stage.run.config.seed}-{_named(stage.tasks)}"
        )
    if isinstance(stage, Score | Probe):
        return (
            f"{type(stage).__name__.lower()}-{stage.run.config.phase}-seed{stage.run.config.seed}"
        )
    if isinstance(stage, Cut):
        return f"cut-{len(stage.episodes)}-episodes"
    return f"collect-{_named(stage.tasks)}-{stage.episodes}"


def folder(stage: Stage, output: Path) -> Path:
    """Where a stage works: OUTPUT/stages/<kind>-<name>-<key>."""
    return output / STAGES / f"{label(stage)}-{stage.key}"


def product(stage: Stage, output: Path) -> Path:
    """What a stage makes, in its folder: a dataset, a run or an evaluation."""
    names: dict[type[Any], str] = {
        Collect: "data",
        Cut: "data",
        Train: "run",
        Evaluate: "evaluation",
        EvaluateReference: "evaluation",
        Score: "score.json",
        Probe: "probe.json",
    }
    return folder(stage, output) / names[type(stage)]


def needs(stage: Stage) -> list[Stage]:
    """The stages that must be done before this one."""
    found = [getattr(stage, item.name) for item in fields(stage)]
    mixed = [each for data in found if isinstance(data, Mixed) for each in data.datasets]
    return [each for each in [*found, *mixed] if isinstance(each, Stage)]


def with_needs(wanted: Iterable[Stage]) -> list[Stage]:
    """Every stage once, those it needs before it, in the order of those that are wanted."""
    found: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        if stage.key not in found:
            for before in needs(stage):
                add(before)
            found[stage.key] = stage

    for stage in wanted:
        add(stage)
    return list(found.values())


def lineage(run: Train) -> Iterator[Train]:
    """The run, the run it started from, and so on."""
    stage: Train | None = run
    while stage is not None:
        yield stage
        stage = stage.start_from


def is_done(stage: Stage, output: Path) -> bool:
    return (folder(stage, output) / DONE).exists()


def left_to_do(stages: Sequence[Stage], output: Path) -> list[Stage]:
    """Those that were never done, and those that were, but whose data or weights these need and do
    not find, as in an archive of a study that left them out. stages: each after those it needs."""
    found: list[Stage] = []
    needed: set[str] = set()
    for stage in reversed(stages):
        whole = is_done(stage, output) and _has_product(stage, output)
        if not _was_done(stage, output) or (stage.key in needed and not whole):
            found.append(stage)
            needed |= {each.key for each in needs(stage)}
    return found[::-1]


def redo(stage: Stage, output: Path) -> None:
    """Let a stage that is done, but lacks its product, be done once more. Its `facts` are kept
    until then; those of the second time replace them, so that its time counts once."""
    place = folder(stage, output)
    shutil.rmtree(product(stage, output), ignore_errors=True)
    (place / SPENT).unlink(missing_ok=True)
    os.replace(place / DONE, place / DONE_BEFORE)


def _was_done(stage: Stage, output: Path) -> bool:
    """Whether it is done or, while it is made anew, was before."""
    return any((folder(stage, output) / name).exists() for name in (DONE, DONE_BEFORE))


def _has_product(stage: Stage, output: Path) -> bool:
    made = product(stage, output)
    return (made / "checkpoints").exists() if isinstance(stage, Train) else made.exists()


def facts(stage: Stage, output: Path) -> dict[str, Any]:
    """What a stage says of itself that is done, or was and is being made anew. Train: `parameters`
    learned in all and `trained_parameters` of them, `train_seconds` within optimiser steps. All:
    `seconds` and `core_seconds` (of computing, processes added up) of all processes that worked on
    it, but for those that were killed outright."""
    done, before = (folder(stage, output) / name for name in (DONE, DONE_BEFORE))
    return json.loads((done if done.exists() else before).read_text())


def write_description(stage: Stage, output: Path) -> Path:
    """Make the stage's folder with what it is to do, for `read_description`."""
    place = folder(stage, output)
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / DESCRIPTION, json.dumps(to_jsonable(stage), indent=1).encode())
    return place


def read_description(place: Path) -> Stage:
    """The stage of a folder. Raises UserError if it is of another version of the code."""
    values = json.loads((place / DESCRIPTION).read_text())
    stage = from_jsonable(_KINDS[place.name.partition("-")[0]], values)
    if place.name != folder(stage, place.parent).name:
        raise UserError(f"{place} does not hold the stage of its name; delete it")
    return stage


def one_process(config: TrainConfig, **changes: Any) -> TrainConfig:
    """A config for a stage: stages share the cores among themselves."""
    return replace(config, processes=1, **changes)


def _named(tasks: tuple[str, ...]) -> str:
    return tasks[0].replace("/", "-") if len(tasks) == 1 else f"{len(tasks)}-tasks"
