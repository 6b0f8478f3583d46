"""DualMind's headline on a laptop: how many of Meta-World's 45 training tasks one agent does, and
what it cost."""

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
    """What a preset fixes. recipe: the training presets dualmind/phase1-RECIPE and
    dualmind/phase2-RECIPE."""

    recipe: str
    tasks: tuple[str, ...]
    held_out: tuple[str, ...]
    demonstrations: int
    noise: Noise
    episodes: int
    max_steps: int | None
    shots: int
    few_shot_steps: int
    environment: EnvConfig = EnvConfig()


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
        environment=EnvConfig(
            cameras=("workspace_side",)
        ),  # from in front, doors and machines hide what is to be done
    )


def run(preset: str, seed: int) -> Train:
    """The run whose weights are the agent's."""
    scale = _scale(preset)
    data = Collect(
        scale.tasks, scale.demonstrations, environment=scale.environment, noise=scale.noise
    )
    first, second = (
        replace(train_preset(f"dualmind/{phase}-{scale.recipe}"), seed=seed) for phase in PHASES
    )
    return Train(second, data, start_from=Train(first, data))


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """The training tasks on unseen goals; the held-out tasks by their instruction, and after a few
    demonstrations."""
    return [measurement for seed in range(seeds) for measurement in _measured(preset, seed)]


def _measured(preset: str, seed: int) -> list[Measurement]:
    scale, agent = _scale(preset), run(preset, seed)
    recipe = train_preset(f"dualmind/phase2-{scale.recipe}")

    def on(run: Train, tasks: tuple[str, ...]) -> Evaluate:
        return Evaluate(run, tasks, scale.episodes, max_steps=scale.max_steps)

    def shown(task: str) -> Evaluate:
        data = Collect((task,), scale.shots, seed=1000 + seed, environment=scale.environment)
        return on(tuned(agent, data, recipe, steps=scale.few_shot_steps), (task,))

    return [
        Measurement(METHOD, UNSEEN, seed, (on(agent, scale.tasks),)),
        Measurement(METHOD, ZERO_SHOT, seed, (on(agent, scale.held_out),), demonstrations=0),
        Measurement(
            METHOD,
            few_shot(scale.shots),
            seed,
            tuple(map(shown, scale.held_out)),
            demonstrations=scale.shots,
        ),
    ]


STUDY = Study(
    name="metaworld45",
    description=(
        "How many of Meta-World's 45 ML45 training tasks does one agent do at unseen goals, and what do 10 "
        "demonstrations of a held-out task buy? laptop: 64 px, about 2.2 hours on two idle cores. debug: tests."
    ),
    presets=("debug", "laptop"),
    reference=METHOD,
    measurements=measurements,
    seeds=1,
    groups={"The last phase": (METHOD,)},
    notes=(
        "“Solved” counts tasks with success of at least .9. With 20 episodes a task the count itself is uncertain: a "
        "task of true success .9 reaches 18 of 20 in two runs of three.",
        "Core hours are of collection and training, evaluation left out.",
    ),
)
