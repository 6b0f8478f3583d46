"""The stages of a study: collect or cut data, train, evaluate, score or probe.

A stage holds those it needs, and its content is its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from manyparts.agents.expert_agent import Noise
from manyparts.claim import write_atomically
from manyparts.envs.base import EnvConfig, Split
from manyparts.evaluation.episodes import Reference
from manyparts.evaluation.prompt_kinds import Prompts
from manyparts.planners import PlannerConfig
from manyparts.serialisation import content_hash, from_jsonable, to_jsonable
from manyparts.training.config import TrainConfig
from manyparts.types import UserError

STAGES, DONE, DESCRIPTION, LOG, SPENT = "stages", "done.json", "stage.json", "log.txt", "spent.json"
DONE_BEFORE = "done_before.json"  # of a stage that is made anew, until it is done


class _Keyed:
    """Of equal content, equal key; a stage's content includes all stages it needs. What has its default value does not
    count, so that an option that comes later renames nothing that is done."""

    @cached_property
    def key(self) -> str:
        return content_hash(self, defaults=False)


@dataclass(frozen=True)
class Collect(_Keyed):
    """Demonstrations of the tasks' experts. keep_failures: also attempts that failed, which show dynamics as well."""

    tasks: tuple[str, ...]
    episodes: int
    seed: int = 0
    environment: EnvConfig = EnvConfig()
    noise: Noise = Noise()
    keep_failures: bool = False


@dataclass(frozen=True)
class Cut(_Keyed):
    """Some episodes of a dataset that a user has. location: see `EpisodeDataset.open`; fingerprint: of its content."""

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
    """`run` on `episodes` episodes of each task, each until it is solved, or to its end. seed: of the goals, the same
    for all that are compared. planner: what a dynamics model acts with."""

    run: Train
    tasks: tuple[str, ...]
    episodes: int
    seed: int = 0
    prompts: Prompts = "sentence"
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
    """How far the actions of `run`, a policy over a representation, are from those of episodes kept from it; and what
    of the state can be read off the representation."""

    run: Train
    data: Cut


@dataclass(frozen=True)
class Probe(_Keyed):
    """What of the state, and of the goal, can be read off the representation of `run`, on demonstrations of others."""

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
        return f"evaluate-{stage.run.config.phase}-seed{stage.run.config.seed}-{_named(stage.tasks)}"
    if isinstance(stage, Score | Probe):
        return f"{type(stage).__name__.lower()}-{stage.run.config.phase}-seed{stage.run.config.seed}"
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
    """Those that were never done, and those that were, but whose data or weights these need and do not find, as in an
    archive of a study that left them out. stages: each after those it needs."""
    found: list[Stage] = []
    needed: set[str] = set()
    for stage in reversed(stages):
        whole = is_done(stage, output) and _has_product(stage, output)
        if not _was_done(stage, output) or (stage.key in needed and not whole):
            found.append(stage)
            needed |= {each.key for each in needs(stage)}
    return found[::-1]


def begin_anew(stage: Stage, output: Path) -> None:
    """Let a stage that is done, but lacks its product, be done once more. Its `facts` are kept until then; those of the
    second time replace them, so that its time counts once."""
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
    """What a stage says of itself that is done, or was and is being made anew. Train: `parameters` learned in all and
    `trained_parameters` of them, `train_seconds` within optimiser steps. All: `seconds` and `core_seconds` (of
    computing, processes added up) of all processes that worked on it, but for those that were killed outright."""
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


def carry_out(stage: Stage, output: Path, *, cores: int = 1) -> None:
    """Do a stage, or what is left of it, in this process and, to use more cores, in workers of its own."""
    work: dict[type[Any], Callable[[Any, Path, int], dict[str, Any]]] = {
        Collect: _collect,
        Cut: _cut,
        Train: _train,
        Evaluate: _evaluate,
        EvaluateReference: _evaluate_reference,
        Score: _score,
        Probe: _probe,
    }
    with _time_kept(folder(stage, output) / SPENT) as spent:
        found = work[type(stage)](stage, output, cores)
    write_atomically(folder(stage, output) / DONE, json.dumps(found | spent, indent=1).encode())
    (folder(stage, output) / DONE_BEFORE).unlink(missing_ok=True)
    if isinstance(stage, Train):
        _drop_training_state(product(stage, output))


@contextlib.contextmanager
def _time_kept(file: Path) -> Iterator[dict[str, float]]:
    """Add what the block takes to the times in `file`, however it ends; they are there after it."""
    spent: dict[str, float] = json.loads(file.read_text()) if file.exists() else {"seconds": 0.0, "core_seconds": 0.0}
    began = {"seconds": time.monotonic(), "core_seconds": _core_seconds()}
    try:
        yield spent
    finally:
        ended = {"seconds": time.monotonic(), "core_seconds": _core_seconds()}
        spent |= {name: round(spent[name] + ended[name] - began[name], 1) for name in spent}
        write_atomically(file, json.dumps(spent).encode())


def one_process(config: TrainConfig, **changes: Any) -> TrainConfig:
    """A config for a stage: stages share the cores among themselves."""
    return replace(config, processes=1, **changes)


def _collect(stage: Collect, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.rollout.collect import collect

    data = product(stage, output)
    if data.exists():  # it is put in place whole; a kill may have left what it was made from
        shutil.rmtree(data.with_name(f"{data.name}.partial"), ignore_errors=True)
        return {}
    given: dict[str, Any] = {"config": stage.environment, "noise": stage.noise, "keep_failures": stage.keep_failures}
    collect(stage.tasks, episodes=stage.episodes, output=data, seed=stage.seed, workers=cores, **given)
    return {}


def _cut(stage: Cut, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.data.dataset import DatasetWriter, EpisodeDataset

    data = product(stage, output)
    if not data.exists():
        source = EpisodeDataset.open(stage.location)
        if source.fingerprint != stage.fingerprint:
            raise UserError(f"{stage.location} has changed since the study was begun")
        given = {"fps": source.fps, "tasks": source.tasks, "environment": source.environment}
        with DatasetWriter(data, source.spec, **given) as writer:
            for index in stage.episodes:
                writer.add(source.episode(index))
    return {}


def _score(stage: Score, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.probes import action_errors, probe

    run, data = product(stage.run, output), product(stage.data, output)
    found = {"action_errors": action_errors(run, data), "probes": probe(run, data)}
    write_atomically(product(stage, output), json.dumps(found, indent=1).encode())
    return {}


def _probe(stage: Probe, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.probes import probe

    found = probe(product(stage.run, output), product(stage.data, output))
    write_atomically(product(stage, output), json.dumps(found, indent=1).encode())
    return {}


def _train(stage: Train, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.training import run_folder
    from manyparts.training.train import train

    run = product(stage, output)
    begun = (run / run_folder.CONFIG).exists()
    origin = stage.start_from and product(stage.start_from, output)
    mixed, weights = (stage.data.datasets, stage.data.weights) if isinstance(stage.data, Mixed) else ((stage.data,), ())
    data = [product(each, output) for each in mixed]
    train(stage.config, data=data, weights=weights, output=run, start_from=origin, resume=begun)
    return _parameters(run) | {"train_seconds": round(_seconds_in_steps(run, stage.config.batch_size), 1)}


def _drop_training_state(run: Path) -> None:
    """Keep of a finished run's checkpoints the last one's weights: a tenth of the space."""
    from manyparts.models.checkpoint import resolve
    from manyparts.training.checkpoint import STATE

    last = resolve(run)
    (last / STATE).unlink(missing_ok=True)
    for other in last.parent.iterdir():
        if other.is_dir() and other.resolve() != last:
            shutil.rmtree(other)


def _evaluate(stage: Evaluate, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.evaluate import evaluate

    evaluate(
        product(stage.run, output),
        tasks=stage.tasks,
        episodes=stage.episodes,
        seed=stage.seed,
        workers=cores,
        prompts=stage.prompts,
        max_steps=stage.max_steps,
        until_success=stage.until_success,
        split=stage.split,
        planner=stage.planner,
        output=product(stage, output),
    )
    return {}


def _evaluate_reference(stage: EvaluateReference, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.evaluate import evaluate_reference

    evaluate_reference(
        stage.agent,
        stage.tasks,
        episodes=stage.episodes,
        seed=stage.seed,
        workers=cores,
        environment=stage.environment,
        max_steps=stage.max_steps,
        split=stage.split,
        output=product(stage, output),
    )
    return {}


def _parameters(run: Path) -> dict[str, int]:
    """Learned by gradient in all, averaged targets and frozen text encoders left out; and by this run."""
    from manyparts.models.checkpoint import load_info, resolve
    from manyparts.objectives.system import System
    from manyparts.training.optimizer import train_only, trained
    from manyparts.training.run_folder import read_config

    config, _ = read_config(run)
    system = System.build(config.model, config.objectives, load_info(resolve(run)).joint, config.window)
    learned = sum(parameter.numel() for parameter in trained(system).values())
    train_only(system, config.train_only)
    return {"parameters": learned, "trained_parameters": sum(value.numel() for value in trained(system).values())}


def _core_seconds() -> float:
    """Computed so far by this process and those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _seconds_in_steps(run: Path, batch_size: int) -> float:
    """From the rates of metrics.jsonl, so that neither kills nor validation count."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rated = [row for row in rows if "samples_per_second" in row]
    steps = [0, *(row["step"] for row in rated)]
    return sum(
        (after - before) * batch_size / row["samples_per_second"]
        for before, after, row in zip(steps[:-1], steps[1:], rated, strict=True)
    )


def _named(tasks: tuple[str, ...]) -> str:
    return tasks[0].replace("/", "-") if len(tasks) == 1 else f"{len(tasks)}-tasks"
