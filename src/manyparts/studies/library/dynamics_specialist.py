"""Dynamics models of one body each, by what planning with them earns (Schubert et al. 2023): a
transformer, a perceptron, an ensemble, and the true simulator as the ceiling."""

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
    """What a preset of the study fixes. size: of the training presets. planners: of each task,
    which look as far ahead as its expert, or as there is time for. demonstrations: a task, all
    successes; the attempts that fail on the way are learned from, too. episodes: a task, evaluated.
    noise: of the expert, much, so that models know what bad actions do.
    """

    size: str
    planners: Mapping[str, MppiConfig]
    demonstrations: int
    episodes: int
    max_steps: int
    environment: EnvConfig = EnvConfig(image_size=16, state="full")
    noise: Noise = Noise(fraction=0.7, std=0.8)


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
    """Every model in every task; seed by seed. A setting is a task."""
    scale = _scale(preset)
    return [
        Measurement(
            method, task.partition("/")[2], seed, (stage,), environment=task.partition("/")[2]
        )
        for seed in range(seeds)
        for task in scale.planners
        for method, stage in _of_task(scale, task, seed).items()
    ]


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
    return (
        {**learned, **references} if not seed else {**learned}
    )  # references learn nothing, so seeds are not theirs


STUDY = Study(
    name="dynamics-specialist",
    description=(
        "Which model of a body's dynamics is best to plan with? debug: for tests. laptop: three tasks of DeepMind "
        "Control from 20 episodes each, and those that failed; 1.7 core hours. paper: 500 episodes, for GPUs."
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
        "The score is the mean reward of a step, of at most 1; the suite's returns are a thousand of them.",
        "All models learn from the same episodes of the expert, seven in ten with much noise, and plan alike.",
    ),
)
