"""The study `planning-from-pixels`: what is planning worth in a world model of images?

Agents learn by acting, from images or from states. Each then acts by its actor, or by planning in
the same model. The plan is docs/results/plans/planning-from-pixels.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from manyparts.core.errors import UserError
from manyparts.envs.base import NO_CAMERA, EnvConfig
from manyparts.evaluation.episodes import Reference
from manyparts.methods import preset as train_preset
from manyparts.models.dynamics.configs import LatentWorldConfig
from manyparts.objectives.configs import WorldConfig
from manyparts.planners import MppiConfig
from manyparts.studies.engine.stages import Evaluate, EvaluateReference, TrainOnline, one_process
from manyparts.studies.engine.study import Claim, Measurement, Study

IMAGES_PLAN, IMAGES_ACTOR = "planning, from images", "actor, from images"
STATES_PLAN, STATES_ACTOR = "planning, from states", "actor, from states"
EXPERT, RANDOM = "scripted expert", "random actions"
BOTH = "both tasks"
_REFERENCES: Mapping[str, Reference] = {EXPERT: "expert", RANDOM: "random"}


@dataclass(frozen=True)
class Target:
    """One task, and how it is learned."""

    task: str
    max_steps: int
    """Environment steps of an episode."""
    environment_steps: int
    """Environment steps of a run."""
    action_repeat: int = 1
    """Environment steps for which an action is held."""


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes."""

    size: str
    """The size of the training preset."""
    targets: tuple[Target, ...]
    image_size: int
    """Side of the images, in pixels."""
    episodes: int
    """Evaluated episodes per task."""
    planner: MppiConfig
    """How every model is planned with."""
    seeds: tuple[int, ...]
    """Training seeds."""
    evaluation_seed: int = 0
    """The seed of the starts of evaluated episodes."""
    online: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the preset's schedule."""


def scale_of(preset: str) -> Scale:
    """Return what a preset fixes."""
    if preset == "debug":
        return Scale(
            size="debug",
            targets=(Target("pointmass/reach", 20, 90), Target("pointmass/reach-red", 20, 90, 2)),
            image_size=16,
            episodes=1,
            planner=MppiConfig(candidates=4, horizon=2),
            seeds=tuple(range(3)),
            online={
                "prefill_steps": 30,
                "train_ratio": 32.0,
                "evaluate_every_steps": 40,
                "evaluation_episodes": 1,
            },
        )
    return Scale(
        size="laptop",
        targets=(
            Target("pointmass/reach", 100, 12_000, action_repeat=4),
            Target("dmc/cartpole-balance", 500, 16_000, action_repeat=2),
        ),
        image_size=32,
        episodes=20,
        planner=MppiConfig(candidates=64, horizon=25, correlation=0.9),
        seeds=tuple(range(31_401, 31_404)),
        evaluation_seed=31_400,
    )


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure the models of images first, each by its actor and by planning, then all others.

    Args:
        preset: "debug" or "laptop".
        seeds: How many training seeds.

    Raises:
        UserError: The study's plan has fewer seeds.
    """
    scale = scale_of(preset)
    if seeds > len(scale.seeds):
        raise UserError(f"seeds is {seeds}; the plan of this study has {len(scale.seeds)}")
    made = {
        seed: [_stages(scale, target, seed) for target in scale.targets]
        for seed in scale.seeds[:seeds]
    }
    measured: list[Measurement] = []
    for methods in ((IMAGES_PLAN, IMAGES_ACTOR), (STATES_PLAN, STATES_ACTOR, EXPERT, RANDOM)):
        for seed, stages in made.items():
            for method in methods:
                if method in stages[0]:
                    of_method = tuple(each[method] for each in stages)
                    measured += _in_settings(scale, method, seed, of_method)
    return measured


def _in_settings(
    scale: Scale, method: str, seed: int, stages: tuple[Evaluate | EvaluateReference, ...]
) -> Iterator[Measurement]:
    """Measure a method on both tasks together, and on each. stages: one for each task."""
    yield Measurement(method, BOTH, seed, stages)
    for target, stage in zip(scale.targets, stages, strict=True):
        yield Measurement(method, target.task.partition("/")[2], seed, (stage,))


def _stages(scale: Scale, target: Target, seed: int) -> Mapping[str, Evaluate | EvaluateReference]:
    """Return the evaluation of each method on a task; references have no seeds but the first."""
    images, states = (trained(scale, target, seed, images=sees) for sees in (True, False))
    learned = {
        IMAGES_PLAN: _evaluated(scale, images, scale.planner),
        IMAGES_ACTOR: _evaluated(scale, images, None),
        STATES_PLAN: _evaluated(scale, states, scale.planner),
        STATES_ACTOR: _evaluated(scale, states, None),
    }
    if seed != scale.seeds[0]:
        return learned
    references = {
        method: EvaluateReference(
            agent,
            (target.task,),
            scale.episodes,
            seed=scale.evaluation_seed,
            environment=states.environment,
        )
        for method, agent in _REFERENCES.items()
    }
    return {**learned, **references}


def trained(scale: Scale, target: Target, seed: int, *, images: bool) -> TrainOnline:
    """Return the run that learns a task by acting.

    Args:
        scale: What the preset fixes.
        target: The task.
        seed: The training seed.
        images: Whether it sees images; if not, it sees the full state.
    """
    config = one_process(train_preset(f"dreamer/{scale.size}"), seed=seed)
    world = config.objectives["world"]
    assert isinstance(config.model, LatentWorldConfig) and isinstance(world, WorldConfig)
    if images:
        # A quarter of the frames is decoded, which has the same gradient in the mean.
        config = replace(
            config,
            model=replace(config.model, sees="images"),
            objectives={**config.objectives, "world": replace(world, decoded=0.25)},
        )
    changes = {
        "environment_steps": target.environment_steps,
        "action_repeat": target.action_repeat,
        "final_episodes": 0,
        **scale.online,
    }
    seen = EnvConfig(
        image_size=scale.image_size,
        state="full",
        max_steps=target.max_steps,
        action_repeat=target.action_repeat,
    )
    seen = seen if images else replace(seen, cameras=(NO_CAMERA,))
    assert config.online is not None
    online = replace(config.online, **changes)
    return TrainOnline(replace(config, online=online), target.task, seen)


def _evaluated(scale: Scale, run: TrainOnline, planner: MppiConfig | None) -> Evaluate:
    return Evaluate(
        run,
        (run.task,),
        scale.episodes,
        seed=scale.evaluation_seed,
        until_success=False,
        planner=planner,
    )


STUDY = Study(
    name="planning-from-pixels",
    description=(
        "What is planning worth in a world model of images, against its own actor and against "
        "planning on states? Its plan was written before it: docs/results/plans. debug: for "
        "tests. laptop: the point mass and a pole to balance, three seeds, 2.5 core hours."
    ),
    presets=("debug", "laptop"),
    reference=IMAGES_PLAN,
    measurements=measurements,
    seeds=3,
    score="reward a step",
    claims=(
        Claim(IMAGES_PLAN, IMAGES_ACTOR, "planning on images beats the model's own actor"),
        Claim(STATES_PLAN, IMAGES_PLAN, "planning on states beats planning on images"),
        Claim(STATES_PLAN, STATES_ACTOR, "planning on states beats the model's own actor"),
        Claim(IMAGES_PLAN, RANDOM, "planning on images beats random actions"),
    ),
    groups={"Agents": (IMAGES_PLAN, IMAGES_ACTOR, STATES_PLAN, STATES_ACTOR, EXPERT, RANDOM)},
    notes=(
        "The score is the mean reward per environment step, at most 1.",
        "Planning and acting use the same weights and meet the same starts. Images and states are "
        "seen by two models, which were trained alike.",
        f"The primary comparison is the first claim in the setting “{BOTH}”.",
        "Three seeds tell large differences alone.",
    ),
)
