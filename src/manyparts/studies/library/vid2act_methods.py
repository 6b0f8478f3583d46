"""The methods of the study `vid2act`: runs that act, with their teachers and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from manyparts.agents.expert import Noise
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset as train_preset
from manyparts.models.dynamics.configs import LatentWorldConfig, TaughtWorldConfig
from manyparts.objectives.configs import DistillationConfig, WorldConfig
from manyparts.studies.engine.stages import (
    Collect,
    Export,
    Mixed,
    Train,
    TrainOnline,
    one_process,
)
from manyparts.training.config import TrainConfig

VID2ACT, SCRATCH, FINETUNED = "Vid2Act", "scratch", "finetuned"
DISTILLED = "no replay, no floor"
NO_DISTILLATION, NO_REPLAY = "no distillation", "no replay"
UNIFORM, ONE, UNTRAINED = "uniform weights", "one teacher", "random teachers"
REHEARSED = "finetuned, with rehearsal"
PRIMARY = (VID2ACT, SCRATCH, DISTILLED, FINETUNED)
SECONDARY = (NO_DISTILLATION, NO_REPLAY, UNIFORM, ONE, REHEARSED, UNTRAINED)
WEIGHTS = (1.0, 30.0, 1000.0)  # of distillation; the preset's is 100
Kind = Literal["states", "images", "replays"]


def weighted(weight: float) -> str:
    """Return the name of Vid2Act with another weight of distillation."""
    return f"{VID2ACT}, distillation x {weight:g}"


@dataclass(frozen=True)
class Target:
    """A task to learn by acting."""

    task: str
    full: float
    """The return that counts as 1: its scripted expert's."""
    related: int
    """The position of the source whose motion is most like it."""


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes."""

    size: str
    """The size of the training presets."""
    targets: tuple[Target, ...]
    """The first is also learned from images."""
    sources: tuple[str, ...]
    """Tasks of the teachers."""
    episodes: int
    """Evaluated episodes of a final agent."""
    environment: EnvConfig
    """What is seen of states."""
    images: EnvConfig
    """What is seen as images."""
    seeds: tuple[int, ...]
    """Training seeds."""
    demonstrations: int = 20
    """Successes per source; failed tries are kept, too."""
    noise: Noise = Noise(fraction=0.75, std=0.6)
    """Of the experts that show the sources."""
    image_steps: int = 14_000
    """Environment steps of a run from images."""
    source_steps: int = 12_000
    """Environment steps of an agent that leaves its replay as a source."""
    data_seed: int = 0
    """The seed of the sources."""
    source_seed: int = 0
    """The seed of the agents that leave their replays as sources."""
    evaluation_seed: int = 0
    """The seed of the starts of evaluated episodes."""
    online: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the presets' schedules."""
    teacher_steps: int | None = None
    """Optimiser steps of teachers; None for the preset's."""


def runs(
    scale: Scale, target: Target, seed: int, kind: Kind = "states"
) -> Mapping[str, TrainOnline]:
    """Return the run of each method that learns a task by acting.

    Args:
        scale: What the preset fixes.
        target: The task.
        seed: The training seed, also of teachers and of the world model to start from.
        kind: What is seen and what the sources are: "replays" are of states.
    """
    task, data = target.task, sources(scale, kind)
    teachers = _pretrained(scale, "teachers", seed, kind)
    started = _pretrained(scale, "world", seed, kind)
    taught = {"teachers": teachers, "sources": data}
    paper = _online(scale, "vid2act/", task, seed, kind)
    distilled = _online(scale, "vid2act/distilled-", task, seed, kind)
    fixed = f"fixed:{target.related}"
    made = {
        VID2ACT: replace(paper, **taught),
        SCRATCH: _online(scale, "dreamer/", task, seed, kind),
        DISTILLED: replace(distilled, teachers=teachers),
        FINETUNED: replace(_online(scale, "dreamer/", task, seed, kind), start_from=started),
        NO_DISTILLATION: replace(_distilling(paper, teaches=False), **taught),
        NO_REPLAY: replace(
            _distilling(distilled, floor=DistillationConfig().floor), teachers=teachers
        ),
        UNIFORM: replace(_with_model(paper, relevance="uniform"), **taught),
        # With the floor, the others would count as well.
        ONE: replace(_distilling(_with_model(paper, relevance=fixed), floor=0.0), **taught),
        REHEARSED: replace(
            _online(scale, "vid2act/rehearsed-", task, seed, kind),
            sources=data,
            start_from=started,
        ),
        UNTRAINED: replace(_with_model(paper, random_teachers=True), **taught),
    }
    for weight in WEIGHTS:
        made[weighted(weight)] = replace(_distilling(paper, weight=weight), **taught)
    return made


def sources(scale: Scale, kind: Kind) -> tuple[Collect | Export, ...]:
    """Return the sources' datasets, each of a task.

    Args:
        scale: What the preset fixes.
        kind: "replays" are those of agents that learned the task by acting; the others are of the
            noisy expert.
    """
    if kind == "replays":
        agents = [
            replace(
                _online(scale, "dreamer/", task, scale.source_seed, kind, scale.source_steps),
                keep_replay=True,
            )
            for task in scale.sources
        ]
        return tuple(map(Export, agents))
    seen = _seen(scale, kind)
    return tuple(
        Collect(
            (task,),
            scale.demonstrations,
            seed=scale.data_seed,
            environment=seen,
            noise=scale.noise,
            keep_failures=True,
            steps_after_success=seen.max_steps,
        )
        for task in scale.sources
    )


def _pretrained(scale: Scale, phase: str, seed: int, kind: Kind) -> Train:
    """Return the run of the teachers, or of one world model of all sources."""
    config = _config(scale, f"vid2act/{phase}-{scale.size}", seed, kind)
    steps = scale.teacher_steps or config.steps
    return Train(replace(config, steps=steps), Mixed(sources(scale, kind)))


def _online(
    scale: Scale, method: str, task: str, seed: int, kind: Kind, steps: int | None = None
) -> TrainOnline:
    """Return a run that acts. method: the preset's name without its size."""
    config = _config(scale, f"{method}{scale.size}", seed, kind)
    assert config.online is not None
    seen = _seen(scale, kind)
    changes = {"final_episodes": 0, "action_repeat": seen.action_repeat, **scale.online}
    if kind == "images":
        changes["environment_steps"] = scale.image_steps
    if steps is not None:
        changes["environment_steps"] = steps
    online = replace(config.online, **changes)
    return TrainOnline(replace(config, online=online), task, seen)


def _config(scale: Scale, name: str, seed: int, kind: Kind) -> TrainConfig:
    """Return a preset with a seed, which sees states or images."""
    config = one_process(train_preset(name), seed=seed)
    if kind != "images":
        return config
    world = config.objectives["world"]
    assert isinstance(config.model, LatentWorldConfig) and isinstance(world, WorldConfig)
    # A quarter of the frames is decoded, which has the same gradient in the mean.
    objectives = {**config.objectives, "world": replace(world, decoded=0.25)}
    return replace(config, model=replace(config.model, sees="images"), objectives=objectives)


def _seen(scale: Scale, kind: Kind) -> EnvConfig:
    return scale.images if kind == "images" else scale.environment


def _distilling(run: TrainOnline, **changes: Any) -> TrainOnline:
    """Return the run with other settings of distillation."""
    config = run.config
    distillation = config.objectives["distillation"]
    assert isinstance(distillation, DistillationConfig)
    objectives = {**config.objectives, "distillation": replace(distillation, **changes)}
    return replace(run, config=replace(config, objectives=objectives))


def _with_model(run: TrainOnline, **changes: Any) -> TrainOnline:
    """Return the run with other settings of its taught world."""
    config = run.config
    assert isinstance(config.model, TaughtWorldConfig)
    return replace(run, config=replace(config, model=replace(config.model, **changes)))
