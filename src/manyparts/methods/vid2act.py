"""Presets of Vid2Act (Pan et al. 2023, arXiv 2306.03360): many teachers, one student.

Teachers are world models of other tasks. A student learns by acting in its own task; its states are
drawn to those of the teachers that it weighs as relevant, and its policy hears what was done there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from manyparts.methods import dreamer
from manyparts.methods.facts import PresetFacts
from manyparts.models.dynamics.configs import (
    ALL_SOURCES,
    GaussianLatentConfig,
    LatentWorldConfig,
    TaughtWorldConfig,
)
from manyparts.objectives.configs import (
    ActionReplayConfig,
    ActorCriticConfig,
    DistillationConfig,
    ObjectiveConfig,
    WorldConfig,
)
from manyparts.training.config import OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop", "base"]

# Updates of teachers, and windows of sources in each batch of a student.
_TEACHER_STEPS: Mapping[Size, int] = {"debug": 60, "laptop": 3000, "base": 200_000}
_SOURCE_WINDOWS: Mapping[Size, int] = {"debug": 4, "laptop": 6, "base": 24}


def teachers(size: Size) -> TrainConfig:
    """One world model of all sources, which tells them apart: a teacher for each."""
    return _pretrained(size, sources=ALL_SOURCES)


def world(size: Size) -> TrainConfig:
    """One world model of all sources together, for a student that starts from it (finetuning)."""
    return _pretrained(size, sources=0)


def student(size: Size) -> TrainConfig:
    """The paper's student: distillation with learned weights, and a guide that the actor reads."""
    return _student(
        size,
        guide="input",
        objectives={"distillation": DistillationConfig(), "action_replay": ActionReplayConfig()},
    )


def distilled(size: Size) -> TrainConfig:
    """A student without a guide. Weights have no floor, so that one teacher may count."""
    return _student(size, guide="none", objectives={"distillation": DistillationConfig(floor=0.0)})


def rehearsed(size: Size) -> TrainConfig:
    """No teachers: half of each batch are windows of the sources. Their rewards do not count.

    With `--from` a run of the preset world: finetuning with rehearsal.
    """
    config = dreamer.online(size)
    assert config.online is not None
    online = replace(config.online, source_windows=config.batch_size, action_repeat=None)
    return replace(
        config,
        method="vid2act",
        phase="rehearsed",
        objectives=_with_sources(config.objectives),
        online=online,
    )


def frozen(size: Size) -> TrainConfig:
    """Finetuning from images, with the encoder of another world as it is; needs `--from`."""
    config = dreamer.online(size)
    assert isinstance(config.model, LatentWorldConfig) and config.online is not None
    return replace(
        config,
        method="vid2act",
        phase="frozen",
        online=replace(config.online, action_repeat=None),
        model=replace(config.model, sees="images"),
        # All but the encoders.
        train_only=("objectives.*", "model.enter.*", "model.recurrent.*", "model.*_head*"),
    )


def _pretrained(size: Size, *, sources: int) -> TrainConfig:
    """A world model that learns from datasets, with a student's sizes."""
    config = dreamer.online(size)
    assert isinstance(config.model, LatentWorldConfig)
    return replace(
        config,
        method="vid2act",
        phase="teachers" if sources else "world",
        model=replace(config.model, sources=sources),
        objectives={"world": WorldConfig()},
        new_parameters=(),
        optimizer=OptimizerConfig(
            learning_rate=1e-3, weight_decay=0.0, clip_norm=100.0, warmup_steps=100
        ),
        steps=_TEACHER_STEPS[size],
        validation_fraction=0.05,
        validate_every_steps=500,
        online=None,
    )


def _student(
    size: Size, *, guide: Literal["none", "input"], objectives: Mapping[str, ObjectiveConfig]
) -> TrainConfig:
    config = dreamer.online(size)
    model, online = config.model, config.online
    assert isinstance(model, LatentWorldConfig) and online is not None
    assert isinstance(model.latent, GaussianLatentConfig)
    behaviour = config.objectives["actor_critic"]
    assert isinstance(behaviour, ActorCriticConfig)
    replays = "action_replay" in objectives
    return replace(
        config,
        method="vid2act",
        phase="student",
        model=TaughtWorldConfig(
            latent=model.latent, width=model.width, depth=model.depth, sees=model.sees
        ),
        objectives={
            **_with_sources(config.objectives),
            "actor_critic": replace(behaviour, guide=guide),
            **objectives,
        },
        new_parameters=(
            "objectives.*",
            "model.teachers.*",
            "model.project.*",
            "model.weigh.*",
            "model.action_vae.*",
        ),
        online=replace(
            online,
            source_windows=_SOURCE_WINDOWS[size] if replays else 0,
            # As long as in the sources.
            action_repeat=None,
        ),
    )


def _with_sources(objectives: Mapping[str, ObjectiveConfig]) -> dict[str, ObjectiveConfig]:
    """Objectives that take the rewards of sources, which are other tasks', for no rewards."""
    world = objectives["world"]
    assert isinstance(world, WorldConfig)
    return {**objectives, "world": replace(world, source_rewards=False)}


FACTS = {
    name: facts
    for size in ("debug", "laptop", "base")
    for name, facts in {
        f"teachers-{size}": PresetFacts("World models of other tasks, one for each dataset."),
        f"world-{size}": PresetFacts("One world model of several datasets, to start from."),
        size: PresetFacts("A student of teachers, as in the paper."),
        f"distilled-{size}": PresetFacts("A student of teachers, without a guide or a floor."),
        f"rehearsed-{size}": PresetFacts("Learn by acting, with windows of other tasks."),
        f"frozen-{size}": PresetFacts("Learn by acting, with the encoder of another world."),
    }.items()
}
"""What was measured of presets: a record for docs and for `manyparts list presets`."""
