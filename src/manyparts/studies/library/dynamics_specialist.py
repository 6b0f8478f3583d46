"""The study `dynamics-specialist`: which model of one embodiment is best to plan with?

After Schubert et al. 2023: a transformer, a perceptron, an ensemble, and the true simulator as the
upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from manyparts.agents.expert import Noise
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.episodes import Reference
from manyparts.methods import preset as train_preset
from manyparts.planners import MppiConfig
from manyparts.studies.engine.stages import Collect, Evaluate, EvaluateReference, Train, one_process
from manyparts.studies.engine.study import Claim, Measurement, Study

TRANSFORMER, PERCEPTRON, ENSEMBLE = "transformer", "perceptron", "ensemble"
SIMULATOR, RANDOM = "planning on the true simulator", "random actions"
_MODELS = {TRANSFORMER: "parallel", PERCEPTRON: "mlp", ENSEMBLE: "ensemble"}
_REFERENCES: Mapping[str, Reference] = {SIMULATOR: "expert", RANDOM: "random"}


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes."""

    size: str
    """The size of the training presets."""
    planners: Mapping[str, MppiConfig]
    """Task to its planner, which looks as far ahead as the task's expert, if there is time."""
    demonstrations: int
    """Successes per task; failed tries are learned from, too."""
    episodes: int
    """Evaluated episodes per task."""
    max_steps: int
    """Steps of an evaluated episode."""
    environment: EnvConfig = EnvConfig(image_size=16, state="full")
    """How tasks are simulated."""
    noise: Noise = Noise(fraction=0.7, std=0.8)
    """The experts' noise. It is large, so that models learn what bad actions do."""


def _scale(preset: str) -> Scale:
    if preset == "debug":
        return Scale(
            size="debug",
            planners={"dmc/cartpole-balance": MppiConfig(candidates=4, horizon=2)},
            demonstrations=1,
            episodes=1,
            max_steps=6,
            environment=EnvConfig(image_size=16, state="full", max_steps=40),
        )
    laptop = preset == "laptop"
    usual = MppiConfig(candidates=64 if laptop else 128, correlation=0.9)
    return Scale(
        size=preset,
        planners={
            "dmc/cartpole-swingup": replace(usual, horizon=50),
            "dmc/reacher-easy": usual,
            "dmc/cheetah-run": replace(usual, horizon=40, std=0.8, correlation=0.8),
        },
        demonstrations=20 if laptop else 500,
        episodes=3 if laptop else 20,
        max_steps=400 if laptop else 1000,
    )


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure every model in every task, seed by seed. A setting is a task.

    Args:
        preset: "debug", "laptop" or "paper".
        seeds: How many seeds of each model.
    """
    scale = _scale(preset)
    measured: list[Measurement] = []
    for seed in range(seeds):
        for task in scale.planners:
            name = task.partition("/")[2]
            for method, stage in _of_task(scale, task, seed).items():
                measured.append(Measurement(method, name, seed, (stage,), environment=name))
    return measured


def _of_task(scale: Scale, task: str, seed: int) -> dict[str, Evaluate | EvaluateReference]:
    data = Collect(
        (task,),
        scale.demonstrations,
        environment=scale.environment,
        noise=scale.noise,
        keep_failures=True,
    )
    runs = {
        method: Train(one_process(train_preset(f"dynamics/{name}-{scale.size}"), seed=seed), data)
        for method, name in _MODELS.items()
    }
    learned = {
        method: Evaluate(
            run,
            (task,),
            scale.episodes,
            max_steps=scale.max_steps,
            until_success=False,
            planner=scale.planners[task],
        )
        for method, run in runs.items()
    }
    references = {
        method: EvaluateReference(
            agent, (task,), scale.episodes, environment=scale.environment, max_steps=scale.max_steps
        )
        for method, agent in _REFERENCES.items()
    }
    # References learn nothing, so that they have no seeds.
    return {**learned, **references} if seed == 0 else {**learned}


STUDY = Study(
    name="dynamics-specialist",
    description=(
        "Which model of an embodiment's dynamics is best to plan with? debug: for tests. laptop: "
        "three tasks of DeepMind Control from 20 episodes each, and those that failed; 1.7 core "
        "hours. paper: 500 episodes, for GPUs."
    ),
    presets=("debug", "laptop", "paper"),
    reference=TRANSFORMER,
    measurements=measurements,
    score="reward a step",
    claims=(
        Claim(TRANSFORMER, PERCEPTRON, "a transformer is better to plan with than a perceptron"),
        Claim(TRANSFORMER, ENSEMBLE, "a transformer is better to plan with than an ensemble"),
        Claim(TRANSFORMER, RANDOM, "planning beats random actions"),
    ),
    groups={"Models": (TRANSFORMER, PERCEPTRON, ENSEMBLE, SIMULATOR)},
    notes=(
        "The score is the mean reward per step, at most 1; the suite's returns are a thousand "
        "times that.",
        "All models learn from the same episodes of the expert, seven in ten with large noise, and "
        "are planned with in the same way.",
    ),
)
