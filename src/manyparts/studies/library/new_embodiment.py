"""The study `new-embodiment`: does a trunk of 45 tasks help a robot that it has never seen?

The shipped agent learned Meta-World's Sawyer. Its trunk is given to the kitchen's Franka and to
another arm, with fresh cameras, state, actions and heads, and compared with the same model from
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from manyparts.core.errors import UserError
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset as train_preset
from manyparts.methods.dualmind import tuning
from manyparts.studies.engine.stages import Collect, Evaluate, Train
from manyparts.studies.engine.study import Claim, Measurement, Study
from manyparts.studies.library.settings import demonstrations
from manyparts.training.config import TrainConfig

TRUNK, SCRATCH = "trunk of 45 tasks", "from scratch"


@dataclass(frozen=True)
class Robot:
    """A robot that the trunk has never seen."""

    name: str
    """For people."""
    tasks: tuple[str, ...]
    """Its tasks, which one agent learns together."""
    environment: EnvConfig
    """How they are simulated and rendered."""


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes."""

    recipe: str
    """The training preset is dualmind/phase2-RECIPE."""
    robots: tuple[Robot, ...]
    """The robots."""
    shots: tuple[int, ...]
    """Numbers of demonstrations of each task."""
    steps: int
    """Optimiser steps."""
    episodes: int
    """Evaluated episodes per task."""
    max_steps: int | None
    """Steps of an evaluated episode; None for the environment's own."""
    seeds: tuple[int, ...]
    """Training seeds."""
    data_seed: int
    """The seed of the demonstrations is this plus the training seed's number."""
    evaluation_seed: int
    """The seed of the goals."""
    agent: str | None = None
    """The shipped agent that gives the trunk; None: an agent that the study trains first."""


def scale_of(preset: str) -> Scale:
    """Return what a preset fixes."""
    if preset == "debug":
        small = EnvConfig(image_size=16)
        return Scale(
            recipe="debug",
            robots=(Robot("point mass", ("pointmass/reach-red",), small),),
            shots=(1, 2),
            steps=4,
            episodes=2,
            max_steps=12,
            seeds=tuple(range(3)),
            data_seed=0,
            evaluation_seed=0,
        )
    kitchen = ("kitchen/microwave", "kitchen/slide-cabinet", "kitchen/light-switch")
    return Scale(
        recipe="metaworld45",
        robots=(
            Robot("Franka in the kitchen", kitchen, EnvConfig()),
            Robot("two-joint arm", ("dmc/reacher-easy",), EnvConfig(max_steps=200)),
        ),
        shots=(10, 50),
        steps=600,
        episodes=50,
        max_steps=None,
        seeds=(31_501, 31_502, 31_503),
        data_seed=31_500,
        evaluation_seed=31_500,
        agent="manyparts/metaworld45-small",
    )


def config_of(scale: Scale, seed: int, *, has_trunk: bool) -> TrainConfig:
    """Return how a robot's agent is trained.

    Args:
        scale: What the preset fixes.
        seed: The training seed.
        has_trunk: Whether the trunk is given; the rest is equal.
    """
    recipe = train_preset(f"dualmind/phase2-{scale.recipe}")
    return replace(
        tuning(recipe, recipe, steps=scale.steps),
        phase="new-embodiment",
        train_only=(),
        cache_features=False,
        new_embodiment=has_trunk,
        seed=seed,
    )


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure both methods, first with the fewest demonstrations, seed by seed.

    Args:
        preset: "debug" or "laptop".
        seeds: How many.

    Raises:
        UserError: The study's plan has fewer seeds.
    """
    scale = scale_of(preset)
    if seeds > len(scale.seeds):
        raise UserError(f"seeds is {seeds}; the plan of this study has {len(scale.seeds)}")
    measured: list[Measurement] = []
    for shots in scale.shots:
        for number in range(seeds):
            measured += _measured(scale, shots, number)
    return measured


def all_robots(shots: int) -> str:
    """Return the name of the setting with the tasks of all robots."""
    return f"all robots, {demonstrations(shots)}"


def _measured(scale: Scale, shots: int, number: int) -> Iterator[Measurement]:
    """Measure both methods on all robots together, and on each."""
    for method in (TRUNK, SCRATCH):
        stages = {
            robot.name: _evaluated(scale, robot, shots, number, has_trunk=method == TRUNK)
            for robot in scale.robots
        }
        seed = scale.seeds[number]
        together = tuple(stages.values())
        yield Measurement(method, all_robots(shots), seed, together, demonstrations=shots)
        for name, stage in stages.items():
            setting = f"{name}, {demonstrations(shots)}"
            yield Measurement(method, setting, seed, (stage,), demonstrations=shots)


def _evaluated(scale: Scale, robot: Robot, shots: int, number: int, *, has_trunk: bool) -> Evaluate:
    data = Collect(robot.tasks, shots, seed=scale.data_seed + number, environment=robot.environment)
    run = Train(config_of(scale, scale.seeds[number], has_trunk=has_trunk), data)
    if has_trunk:
        run = replace(run, agent=scale.agent, start_from=_trained_first(scale))
    return Evaluate(
        run,
        robot.tasks,
        scale.episodes,
        seed=scale.evaluation_seed,
        max_steps=scale.max_steps,
    )


def _trained_first(scale: Scale) -> Train | None:
    """Return the run that gives the trunk, where no shipped agent does."""
    if scale.agent is not None:
        return None
    data = Collect(("pointmass/reach-blue",), 2, environment=EnvConfig(image_size=24))
    return Train(config_of(scale, 0, has_trunk=False), data)


STUDY = Study(
    name="new-embodiment",
    description=(
        "Does the trunk of an agent of 45 tasks help a robot that it has never seen, with 10 and "
        "50 demonstrations of each task? laptop: the kitchen's Franka and a two-joint arm, three "
        "seeds, about 4 core hours. debug: for tests."
    ),
    presets=("debug", "laptop"),
    reference=SCRATCH,
    measurements=measurements,
    seeds=3,
    claims=(Claim(TRUNK, SCRATCH, "a trunk of other tasks helps a new robot"),),
    groups={"Trunk and scratch": (TRUNK, SCRATCH)},
    notes=(
        "Both methods have the same model, data and optimiser steps; a seed is one agent with "
        "demonstrations of its own.",
        "The trunk is 1.54 of 2.22 million parameters: blocks, norms and what reads instructions.",
    ),
)
