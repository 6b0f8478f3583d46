"""The study `metaworld45`: how many of ML45's 45 training tasks does one agent solve?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from manyparts.agents.expert import Noise
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset as train_preset
from manyparts.studies.engine.stages import Collect, Evaluate, Train
from manyparts.studies.engine.study import Measurement, Study
from manyparts.studies.library.settings import UNSEEN, ZERO_SHOT, few_shot, tuned

METHOD = "dual-phase"
PHASES = ("phase1", "phase2")


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes."""

    recipe: str
    """The training presets are dualmind/phase1-RECIPE and dualmind/phase2-RECIPE."""
    tasks: tuple[str, ...]
    """Training tasks."""
    held_out: tuple[str, ...]
    """Tasks that training never has."""
    demonstrations: int
    """Demonstrations per training task."""
    noise: Noise
    """The experts' noise in training data."""
    episodes: int
    """Evaluated episodes per task."""
    max_steps: int | None
    """Steps of an evaluated episode; None for the environment's own."""
    shots: int
    """Demonstrations of a held-out task."""
    few_shot_steps: int
    """Optimiser steps of tuning."""
    environment: EnvConfig = EnvConfig()
    """How tasks are simulated and rendered."""


def _scale(preset: str) -> Scale:
    if preset == "debug":
        return Scale(
            recipe="debug",
            tasks=("pointmass/reach-red", "pointmass/reach-blue"),
            held_out=("pointmass/reach-green",),
            demonstrations=3,
            noise=Noise(),
            episodes=2,
            max_steps=12,
            shots=2,
            few_shot_steps=4,
            environment=EnvConfig(image_size=16),
        )
    return Scale(
        recipe="metaworld45",
        tasks=tuple(registry.expand(["metaworld/ml45-train"])),
        held_out=tuple(registry.expand(["metaworld/ml45-test"])),
        demonstrations=80,
        noise=Noise(fraction=0.5, std=0.35),
        episodes=20,
        max_steps=None,
        shots=10,
        few_shot_steps=300,
        # From the front, doors and machines hide the goal.
        environment=EnvConfig(cameras=("workspace_side",)),
    )


def run(preset: str, seed: int) -> Train:
    """Return the run that trains the agent.

    Args:
        preset: "debug" or "laptop".
        seed: The training seed.
    """
    scale = _scale(preset)
    data = Collect(
        scale.tasks, scale.demonstrations, environment=scale.environment, noise=scale.noise
    )
    first, second = (
        replace(train_preset(f"dualmind/{phase}-{scale.recipe}"), seed=seed) for phase in PHASES
    )
    return Train(second, data, start_from=Train(first, data))


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure training tasks at unseen goals, and held-out tasks zero-shot and few-shot.

    Args:
        preset: "debug" or "laptop".
        seeds: How many agents, each with its own training seed.
    """
    measured: list[Measurement] = []
    for seed in range(seeds):
        measured += _measured(preset, seed)
    return measured


def _measured(preset: str, seed: int) -> list[Measurement]:
    scale, agent = _scale(preset), run(preset, seed)
    recipe = train_preset(f"dualmind/phase2-{scale.recipe}")

    def evaluate(run: Train, tasks: tuple[str, ...]) -> Evaluate:
        return Evaluate(run, tasks, scale.episodes, max_steps=scale.max_steps)

    def evaluate_tuned(task: str) -> Evaluate:
        data = Collect((task,), scale.shots, seed=1000 + seed, environment=scale.environment)
        return evaluate(tuned(agent, data, recipe, steps=scale.few_shot_steps), (task,))

    return [
        Measurement(METHOD, UNSEEN, seed, (evaluate(agent, scale.tasks),)),
        Measurement(METHOD, ZERO_SHOT, seed, (evaluate(agent, scale.held_out),), demonstrations=0),
        Measurement(
            METHOD,
            few_shot(scale.shots),
            seed,
            tuple(map(evaluate_tuned, scale.held_out)),
            demonstrations=scale.shots,
        ),
    ]


STUDY = Study(
    name="metaworld45",
    description=(
        "How many of Meta-World's 45 ML45 training tasks does one agent solve at unseen goals, and "
        "how much do 10 demonstrations of a held-out task help? laptop: 64 px, about 2.2 hours on "
        "two idle cores. debug: for tests."
    ),
    presets=("debug", "laptop"),
    reference=METHOD,
    measurements=measurements,
    seeds=1,
    groups={"The last phase": (METHOD,)},
    notes=(
        "“Solved” counts tasks with a success of at least 0.9. With 20 episodes per task the count "
        "itself is uncertain: a task with a true success of 0.9 reaches 18 of 20 in two runs of "
        "three.",
        "Core hours are those of collection and training, without evaluation.",
    ),
)
