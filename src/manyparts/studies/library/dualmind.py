"""The study `dualmind`: does learning dynamics first help a prompted agent?

The comparisons of Wei et al. 2023: every method on the same data, for the same number of steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from manyparts.core.records import Precision
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset as train_preset
from manyparts.methods.dualmind import trained_parts, transformer
from manyparts.models.configs import PromptConfig
from manyparts.objectives.configs import BehaviourCloningConfig, ForwardDynamicsConfig
from manyparts.studies.engine.stages import Collect, Evaluate, Train, one_process
from manyparts.studies.engine.study import Claim, Measurement, Study
from manyparts.studies.library.settings import UNSEEN, ZERO_SHOT, few_shot, tuned
from manyparts.training.config import TrainConfig

VISUAL_TOKENS = (1, 4, 8, 16)
DUAL, IMITATION, HEAD = "dual-phase", "imitation only", "self-supervised, then a head"
BOTH, GATO, PREFIX = "both losses jointly", "Gato-style", "prefix prompts"
ONLINE_TARGET = "online-encoder target"
RECIPES = (DUAL, IMITATION, HEAD, BOTH, GATO)


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes."""

    size: str
    """The size of the training presets."""
    tasks: tuple[str, ...]
    """Training tasks."""
    held_out: tuple[str, ...]
    """Tasks that training never has."""
    demonstrations: int
    """Demonstrations per training task."""
    episodes: int
    """Evaluated episodes per task."""
    max_steps: int | None
    """Steps of an evaluated episode; None for the environment's own."""
    shots: tuple[int, ...]
    """Numbers of demonstrations of a held-out task."""
    few_shot_steps: int
    """Optimiser steps of tuning."""
    environment: EnvConfig = EnvConfig()
    """How tasks are simulated and rendered."""
    same_seconds: Mapping[str, int] = field(default_factory=dict)
    """One-phase method to the steps that it takes in dual-phase's seconds, as measured."""
    precision: Precision = "fp32"
    """The precision of training."""


def _scale(preset: str) -> Scale:
    if preset == "debug":
        return Scale(
            size="debug",
            tasks=("pointmass/reach-red", "pointmass/reach-blue"),
            held_out=("pointmass/reach-green",),
            demonstrations=3,
            episodes=2,
            max_steps=12,
            shots=(1,),
            few_shot_steps=4,
            environment=EnvConfig(image_size=16),
        )
    if preset == "laptop":
        return Scale(
            size="laptop",
            # Harder than the quickstart's tasks, where success is too high for differences.
            tasks=tuple(registry.expand(["metaworld/ml10-train"])),
            # Three of ML10's five held-out tasks.
            held_out=("metaworld/drawer-open", "metaworld/door-close", "metaworld/sweep-into"),
            demonstrations=50,
            episodes=20,
            max_steps=300,
            shots=(1, 5, 10),
            few_shot_steps=150,
            # From the front, doors hide the goal.
            environment=EnvConfig(cameras=("workspace_side",)),
            # docs/log/speed-and-scale.md
            same_seconds={IMITATION: 1300, BOTH: 720, GATO: 1000},
            precision="bf16",  # two thirds of the time, on CPUs that have it
        )
    return Scale(
        size="base",
        tasks=tuple(registry.expand(["metaworld/ml45-train"])),
        held_out=tuple(registry.expand(["metaworld/ml45-test"])),
        demonstrations=1000,
        episodes=20,
        max_steps=None,
        shots=(1, 5, 10),
        few_shot_steps=2000,
        environment=EnvConfig(image_size=224),
        precision="bf16",
    )


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure every method at unseen goals and on held-out tasks, seed by seed.

    Held-out tasks are evaluated zero-shot, and few-shot for the five recipes.

    Args:
        preset: "debug", "laptop" or "paper".
        seeds: How many seeds of each method.
    """
    scale = _scale(preset)
    measured: list[Measurement] = []
    for seed in range(seeds):
        for method, run in methods(preset, seed).items():
            measured += _measured(method, run, scale, seed)
    return measured


def methods(preset: str, seed: int) -> Mapping[str, Train]:
    """Return the run of each method.

    All take the same number of optimiser steps over their phases, but for those that take
    dual-phase's seconds.

    Args:
        preset: "debug", "laptop" or "paper".
        seed: The training seed.
    """
    scale = _scale(preset)
    data = Collect(scale.tasks, scale.demonstrations, environment=scale.environment)
    first, second = (
        one_process(
            train_preset(f"dualmind/{phase}-{scale.size}"), seed=seed, precision=scale.precision
        )
        for phase in ("phase1", "phase2")
    )

    def two_phases(before: TrainConfig, after: TrainConfig = second) -> Train:
        return Train(after, data, start_from=Train(before, data))

    def with_tokens(count: int) -> Train:
        tokens = {"visual_tokens": count}
        return two_phases(
            replace(first, model=replace(first.model, **tokens)),
            replace(second, model=replace(second.model, **tokens)),
        )

    recipes = {
        DUAL: two_phases(first),
        IMITATION: Train(_whole(first, second, "imitation"), data),
        HEAD: two_phases(first, _head_only(second)),
        BOTH: Train(_joint(first, second), data),
        GATO: Train(_gato(first, second), data),
    }
    timed = {
        same_seconds(name): replace(
            recipes[name], config=replace(recipes[name].config, steps=steps)
        )
        for name, steps in scale.same_seconds.items()
    }
    variants = {
        f"phase II variant {number}": two_phases(first, _variant(first, second, number))
        for number in range(1, 5)
    }
    tokens = {f"visual tokens {count}": with_tokens(count) for count in VISUAL_TOKENS}
    without = {
        f"without {name.replace('_', ' ')}": two_phases(_without(first, name))
        for name in sorted(first.objectives)
    }
    online = {"forward_dynamics": ForwardDynamicsConfig(target="online")}
    return {
        **recipes,
        **timed,
        **variants,
        PREFIX: two_phases(first, _prefixed(second)),
        **tokens,
        **without,
        ONLINE_TARGET: two_phases(replace(first, objectives={**first.objectives, **online})),
    }


def _measured(method: str, run: Train, scale: Scale, seed: int) -> list[Measurement]:
    """Return the measurements of a method's run in all settings."""

    def evaluate(agent: Train, tasks: tuple[str, ...]) -> Evaluate:
        return Evaluate(agent, tasks, scale.episodes, max_steps=scale.max_steps)

    measured = [
        Measurement(method, UNSEEN, seed, (evaluate(run, scale.tasks),)),
        Measurement(method, ZERO_SHOT, seed, (evaluate(run, scale.held_out),), demonstrations=0),
    ]
    if method not in RECIPES:
        return measured
    for shots in scale.shots:
        evaluations = tuple(
            evaluate(_tuned(run, task, shots, scale, seed), (task,)) for task in scale.held_out
        )
        measured.append(
            Measurement(method, few_shot(shots), seed, evaluations, demonstrations=shots)
        )
    return measured


def same_seconds(method: str) -> str:
    """Return the name of a method that takes dual-phase's seconds instead of its steps."""
    return f"{method}, same seconds"


def _tuned(run: Train, task: str, shots: int, scale: Scale, seed: int) -> Train:
    """Tune a run on demonstrations of a held-out task, others for each seed."""
    data = Collect((task,), shots, seed=1000 + seed, environment=scale.environment)
    recipe = train_preset(f"dualmind/phase2-{scale.size}")
    return tuned(run, data, recipe, steps=scale.few_shot_steps)


def _whole(first: TrainConfig, second: TrainConfig, phase: str) -> TrainConfig:
    """Return phase II from random weights, with everything trained, for the steps of both phases.

    Images are augmented as in phase I.
    """
    return replace(
        second,
        phase=phase,
        train_only=(),
        new_parameters=(),
        cache_features=False,
        augmentation=first.augmentation,
        steps=first.steps + second.steps,
    )


def _joint(first: TrainConfig, second: TrainConfig) -> TrainConfig:
    """Return one phase with the losses of both."""
    objectives = {**first.objectives, **second.objectives}
    return replace(_whole(first, second, "joint"), objectives=objectives)


def _gato(first: TrainConfig, second: TrainConfig) -> TrainConfig:
    """Return one phase with a causal stream: the prompt, then observations and actions."""
    whole = _prefixed(_whole(first, second, "gato"))
    cloning = second.objectives["behaviour_cloning"]
    assert isinstance(cloning, BehaviourCloningConfig), cloning
    return replace(whole, objectives={"behaviour_cloning": replace(cloning, attention="causal")})


def _head_only(second: TrainConfig) -> TrainConfig:
    """Return phase II with a head on the frozen model, without a prompt."""
    head = ("objectives.behaviour_cloning.*",)
    return replace(
        second,
        phase="head",
        model=replace(second.model, prompt=None),
        train_only=head,
        new_parameters=head,
    )


def _variant(first: TrainConfig, second: TrainConfig, number: int) -> TrainConfig:
    """Return phase II with a freezing variant of the paper."""
    parts = trained_parts(number, layers=transformer(second).layers)
    config = replace(second, train_only=parts)
    if number == 4:  # it trains the encoder, so that visual tokens cannot be cached
        return replace(config, cache_features=False, augmentation=first.augmentation)
    return config


def _prefixed(config: TrainConfig) -> TrainConfig:
    """Return a config with the prompt as a prefix instead of cross-attention."""
    cross_attended = transformer(config).prompt
    assert cross_attended is not None
    prompt: PromptConfig = replace(cross_attended, conditioning="prefix")
    return replace(config, model=replace(config.model, prompt=prompt))


def _without(first: TrainConfig, name: str) -> TrainConfig:
    """Return phase I without one of its objectives."""
    objectives = {key: value for key, value in first.objectives.items() if key != name}
    return replace(first, objectives=objectives)


STUDY = Study(
    name="dualmind",
    description=(
        "Does learning dynamics first help a prompted agent? debug: the point mass, for tests. "
        "laptop: ML10 and three of its held-out tasks, 7.7 core hours for three seeds. paper: ML45 "
        "at 224 px, for GPUs."
    ),
    presets=("debug", "laptop", "paper"),
    reference=DUAL,
    measurements=measurements,
    claims=(
        Claim(DUAL, IMITATION, "dynamics first beats imitation only"),
        Claim(DUAL, HEAD, "the prompted second phase beats self-supervision with a head"),
        Claim(DUAL, BOTH, "two phases beat both losses jointly"),
        Claim(DUAL, GATO, "dual-phase training beats a Gato-style agent"),
        Claim(DUAL, PREFIX, "cross-attention to the prompt beats a prefix"),
        Claim("visual tokens 8", "visual tokens 1", "several visual tokens beat one"),
        Claim(DUAL, ONLINE_TARGET, "an averaged target beats the online encoder"),
    ),
    groups={
        "Recipes": RECIPES,
        "Phase II variants": tuple(f"phase II variant {number}" for number in range(1, 5)),
        "How the prompt enters": (DUAL, PREFIX),
        "Visual tokens": tuple(f"visual tokens {count}" for count in VISUAL_TOKENS),
        "Phase I objectives": (
            DUAL,
            "without forward dynamics",
            "without inverse dynamics",
            "without masked hindsight",
            ONLINE_TARGET,
        ),
    },
    notes=(
        "Every method has the same data and the same number of optimiser steps over its phases. "
        "Their seconds differ and stand in each row. A method with “same seconds” has about "
        "dual-phase's seconds instead.",
        "No learning rate was tuned for any method: all have phase II's, and phase I has its own.",
        "A head without a prompt gets no instruction; it may see which task it is.",
        "Gato-style attends to past steps (a causal stream), which on this data is a shortcut; the "
        "others attend to the current step.",
        "Few-shot tuning is of one held-out task at a time, with other demonstrations for each "
        "seed.",
    ),
)
