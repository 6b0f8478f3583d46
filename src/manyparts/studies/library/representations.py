"""The study `representations`: which pretraining objective learns what an unseen task needs?

After Brandfonbrener et al. 2023 (arXiv 2305.16985).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from manyparts.core.errors import UserError, closest
from manyparts.core.extras import install_command
from manyparts.envs.base import EnvConfig
from manyparts.methods.inverse_dynamics import (
    OBJECTIVES,
    Size,
    finetune,
    finetune_states,
    from_scratch,
    imagenet,
    pretrain,
    untrained,
)
from manyparts.models.frozen_images import has_imagenet
from manyparts.studies.engine.stages import Collect, Cut, Evaluate, Probe, Train, one_process
from manyparts.studies.engine.study import Claim, Measurement, Study
from manyparts.studies.library.representation_contexts import (
    CLONING,
    IMAGENET,
    INVERSE,
    METHODS,
    RANDOM,
    SCRATCH,
    STATES,
    Context,
    contexts,
    published,
    published_pretraining,
)
from manyparts.studies.library.settings import demonstrations
from manyparts.training.config import TrainConfig


@dataclass(frozen=True)
class Choice:
    """The part of the study that is run; what is empty or None is as in the preset."""

    environments: tuple[str, ...] = ()
    """Names of `contexts`."""
    objectives: tuple[str, ...] = ()
    """Names of `METHODS`."""
    pretrain_sizes: tuple[int, ...] = ()
    """Numbers of pretraining trajectories, over all tasks."""
    finetune_sizes: tuple[int, ...] = ()
    """Numbers of demonstrations per task."""
    pretrain_steps: int | None = None
    """Optimiser steps of every pretraining."""

    def __post_init__(self) -> None:
        if self.pretrain_steps is not None and self.pretrain_steps < 1:
            raise UserError(f"pretrain_steps is {self.pretrain_steps}; expected at least 1")
        _require_known("environment", self.environments, tuple(contexts()))
        _require_known("objective", self.objectives, METHODS)
        refuse_repeated("environments", self.environments)
        refuse_repeated("objectives", self.objectives)
        sizes_by_name = {
            "pretrain_sizes": self.pretrain_sizes,
            "finetune_sizes": self.finetune_sizes,
        }
        for name, sizes in sizes_by_name.items():
            refuse_repeated(name, sizes)
            if any(size < 1 for size in sizes):
                raise UserError(f"{name} are {sizes}; expected numbers of at least 1")


def _require_known(kind: str, names: Sequence[str], choices: Sequence[str]) -> None:
    for name in names:
        if name not in choices:
            raise UserError(f"unknown {kind} {name!r}; {closest(name, choices)}")


def refuse_repeated(name: str, chosen: Sequence[str] | Sequence[int]) -> None:
    """Require that nothing is chosen twice: its results would count as those of further seeds.

    Args:
        name: What is chosen, for the message.
        chosen: The choices.

    Raises:
        UserError: Something is.
    """
    repeated = [str(item) for item in dict.fromkeys(chosen) if chosen.count(item) > 1]
    if repeated:
        raise UserError(f"{name} has {', '.join(repeated)} more than once; name each once")


_PRESETS: dict[str, Choice] = {
    "debug": Choice(("pointmass",), METHODS, (6,), (2,)),
    "laptop": Choice(("pointmass", "pick-place", "doors"), METHODS, (30, 300)),
    "paper": Choice(tuple(contexts()), METHODS),
}
_PROBE_EPISODES = {"debug": 6, "laptop": 50, "paper": 50}  # over all tasks
_EPISODES = {"debug": 2, "laptop": 50}  # evaluated per task; of "paper" those of the context
# Steps of an evaluated episode on laptops. Experts' median is 75 (pick-place) and 150 (door-lock).
_MAX_STEPS = 200
_CHEAPEST = "pointmass"  # where laptops vary the numbers of trajectories and of demonstrations
_AT_SMALLER_SIZES = {
    "debug": tuple(OBJECTIVES),
    "laptop": (INVERSE, CLONING),
    "paper": tuple(OBJECTIVES),
}


def study(choice: Choice = Choice()) -> Study:
    """Return the study of a choice."""

    def measurements(preset: str, seeds: int) -> list[Measurement]:
        return measured(preset, seeds, choice)

    return replace(STUDY, measurements=measurements)


def measured(preset: str, seeds: int, choice: Choice) -> list[Measurement]:
    """Return the measurements of a choice, seed by seed.

    Every method is measured at every number of demonstrations, with the largest pretraining first.
    Smaller pretraining is measured for the methods that the preset names, or all that were chosen;
    on laptops only where it is cheapest, unless chosen.

    Args:
        preset: "debug", "laptop" or "paper".
        seeds: How many seeds of each method.
        choice: The part of the study to measure.
    """
    at_smaller = OBJECTIVES if choice.objectives else _AT_SMALLER_SIZES[preset]
    everywhere = preset != "laptop" or choice.pretrain_sizes or choice.objectives
    choice = _complete(preset, choice)
    measurements: list[Measurement] = []
    for seed in range(seeds):
        for name in choice.environments:
            totals = _totals(contexts()[name], choice)
            largest = totals[0]
            for total in totals if everywhere or name == _CHEAPEST else [largest]:
                for method in choice.objectives:
                    if total == largest or method in at_smaller:
                        measurements += _of_method(preset, seed, name, method, total, choice)
    return measurements


def _totals(context: Context, choice: Choice) -> list[int]:
    """Return the numbers of pretraining trajectories over all tasks, the largest first.

    Each size is rounded down to an equal number for every task, at least one.
    """
    tasks, sizes = len(context.before), choice.pretrain_sizes or context.pretraining
    return sorted({max(1, size // tasks) * tasks for size in sizes}, reverse=True)


def _complete(preset: str, choice: Choice) -> Choice:
    """Fill what was not chosen from the preset; without its weights, imagenet is left out."""
    usual = _PRESETS[preset]
    if IMAGENET in choice.objectives and not has_imagenet():
        raise UserError(f"imagenet needs its weights: {install_command('imagenet')}")
    possible = tuple(method for method in usual.objectives if method != IMAGENET or has_imagenet())
    return Choice(
        environments=choice.environments or usual.environments,
        objectives=choice.objectives or possible,
        pretrain_sizes=choice.pretrain_sizes or usual.pretrain_sizes,
        finetune_sizes=choice.finetune_sizes or usual.finetune_sizes,
        pretrain_steps=choice.pretrain_steps,
    )


def _of_method(
    preset: str, seed: int, name: str, method: str, total: int, choice: Choice
) -> list[Measurement]:
    """Return the measurements of a method in a context, one per number of demonstrations."""
    context = contexts()[name]
    is_largest = total == _totals(context, choice)[0]
    if preset == "paper":
        numbers, steps = context.finetuning, context.steps
    else:
        numbers, steps = _few(name, context), None
    steps = choice.pretrain_steps or steps
    measurements = []
    for shots in choice.finetune_sizes or numbers:
        evaluations: list[Evaluate] = []
        for task in context.after:
            run = _tuned(preset, seed, context, method, total, shots, task, steps)
            episodes = _EPISODES.get(preset, context.episodes)
            max_steps = _max_steps(preset, context)
            evaluations.append(Evaluate(run, (task,), episodes, seed=seed, max_steps=max_steps))
        pretrained = "" if is_largest else f", pretrained on {total}"
        first = evaluations[0].run
        assert isinstance(first, Train)
        measurement = Measurement(
            method,
            f"{name}, {demonstrations(shots)}{pretrained}",
            seed,
            tuple(evaluations),
            demonstrations=shots,
            pretraining=total if method in OBJECTIVES else None,
            environment=name,
            probe=_probe(preset, context, first),
        )
        measurements.append(measurement)
    return measurements


def _max_steps(preset: str, context: Context) -> int | None:
    """Return the steps of an evaluated episode; None for the environment's own number."""
    if context.max_steps is None or preset == "paper":
        return context.max_steps
    return min(context.max_steps, _MAX_STEPS)


def _few(name: str, context: Context) -> tuple[int, ...]:
    """Return the numbers of demonstrations on laptops: the paper's usual one, and 10 where it is
    cheapest."""
    return (context.usual, 10) if name == _CHEAPEST else (context.usual,)


def _probe(preset: str, context: Context, run: Train) -> Probe:
    """Probe what was pretrained, or else the run itself, on equal demonstrations for all seeds."""
    count = max(1, _PROBE_EPISODES[preset] // len(context.before))  # per task
    data = Collect(context.before, count, 2000, _environment(preset, context, None), context.noise)
    return Probe(run.start_from or run, data)


def _tuned(
    preset: str,
    seed: int,
    context: Context,
    method: str,
    total: int,
    shots: int,
    task: str,
    steps: int | None,
) -> Train:
    """Return the policy of a task after some demonstrations of it.

    Args:
        preset: The study's preset.
        seed: The seed of data and training, and of the hidden goal.
        context: The environment.
        method: One of `METHODS`.
        total: Trajectories of pretraining, over all tasks.
        shots: Demonstrations of the task.
        task: The task.
        steps: Optimiser steps of pretraining; None for the training preset's.
    """
    hidden_goal = seed if context.latent else None
    few_environment = _environment(preset, context, hidden_goal)
    many_environment = _environment(preset, context, None)
    count = total // len(context.before)
    few = Collect((task,), shots, 1000 + seed, few_environment, context.noise)
    many = Collect(context.before, count, seed, many_environment, context.noise)
    return policy_of(method, _scale(preset), seed, many, few, steps=steps)


def policy_of(
    method: str,
    size: Size,
    seed: int,
    many: Collect | Cut,
    few: Collect | Cut,
    *,
    steps: int | None = None,
) -> Train:
    """Return a policy: pretrained on `many` if the method does that, then tuned on `few`.

    Args:
        method: One of `METHODS`.
        size: The size of the model and its training.
        seed: The training seed.
        many: Trajectories of pretraining.
        few: Demonstrations of the task.
        steps: Optimiser steps of pretraining; None for those of `size`.
    """
    pretraining, tuning = _configs(method, size, seed, steps)
    start = None if pretraining is None else Train(pretraining, many)
    return Train(tuning, few, start_from=start)


@cache  # a paper's study has thousands of runs, which differ in their data alone
def _configs(
    method: str, size: Size, seed: int, steps: int | None
) -> tuple[TrainConfig | None, TrainConfig]:
    """Return the configs of pretraining, None for a method without it, and of tuning."""
    if method == STATES:
        return None, one_process(finetune_states(size), seed=seed)
    if method == SCRATCH:
        return None, one_process(from_scratch(size), seed=seed)
    if method == RANDOM:
        config = untrained(size)
    elif method == IMAGENET:
        config = imagenet(size)
    else:
        config = pretrain(method, size)
        if steps is not None:
            config = replace(config, steps=steps, checkpoint_every_steps=max(1, steps // 4))
    tuning = replace(finetune(size), model=config.model)
    return one_process(config, seed=seed), one_process(tuning, seed=seed)


def _environment(preset: str, context: Context, hidden_goal: int | None) -> EnvConfig:
    if preset == "debug":
        size = 16
    else:
        laptop_size, paper_size = context.sizes
        size = paper_size if preset == "paper" else laptop_size
    return EnvConfig(
        image_size=size,
        cameras=context.cameras,
        goal="hidden" if context.latent else "visible",
        state="full",
        context=hidden_goal,
    )


def _scale(preset: str) -> Size:
    sizes: dict[str, Size] = {"debug": "debug", "paper": "paper"}
    return sizes.get(preset, "laptop")


def _claims_against(methods: Sequence[str]) -> tuple[Claim, ...]:
    return tuple(Claim(INVERSE, other, f"inverse dynamics beats {other}") for other in methods)


def _by_ten_points(methods: Sequence[str]) -> tuple[Claim, ...]:
    """Claim that the reference is so far above each method, where pretraining is largest."""
    claims = []
    for other in methods:
        words = f"inverse dynamics beats {other} by 10 points"
        claims.append(Claim(INVERSE, other, words, 0.1, largest_pretraining=True))
    return tuple(claims)


_LEARNED = tuple(method for method in OBJECTIVES if method not in (INVERSE, "inverse-dynamics-far"))
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Objectives": (
        INVERSE,
        CLONING,
        "forward-pixels",
        "forward-contrastive",
        "static-contrastive",
        STATES,
    ),
    "Temperature of contrast": (
        INVERSE,
        "forward-contrastive",
        "forward-contrastive-tuned",
        "static-contrastive",
        "static-contrastive-tuned",
    ),
}

STUDY = Study(
    name="representations",
    description=(
        "Which pretraining objective learns what an unseen task needs? A representation is learned "
        "from trajectories of many contexts and frozen. Then a policy is learned from a few "
        "demonstrations of one context. debug: the point mass, for tests. laptop: point mass, "
        "pick-place and doors at 64 px; in the point mass also with more demonstrations and, for "
        "two objectives, smaller pretraining. paper: its sizes and schedules, for GPUs."
    ),
    presets=("debug", "laptop", "paper"),
    reference=INVERSE,
    measurements=lambda preset, seeds: measured(preset, seeds, Choice()),
    claims=(
        *_claims_against(_LEARNED),
        *_claims_against((SCRATCH, RANDOM, IMAGENET)),
        *_by_ten_points(_LEARNED),
        Claim(
            INVERSE,
            STATES,
            "inverse dynamics is within 10 points of states",
            -0.1,
            largest_pretraining=True,
        ),
    ),
    groups=GROUPS,
    published=published(),
    published_pretraining=published_pretraining(),
    notes=(
        "Settings without “pretrained on” have the largest number of pretraining trajectories.",
        "In point mass and pick-place the goal is hidden: pretraining sees many goals, tuning and "
        "evaluation one that it never had (another for each seed). The door's lock is a task that "
        "pretraining never saw.",
        "states: the same policy on the simulator's state, without the goal where it is hidden, "
        "from the few demonstrations alone. scratch: encoder and policy together on the "
        "demonstrations, with shifted images. random: an encoder with random weights. imagenet: "
        "EfficientNet-Lite0 as it was trained on photographs, its last features averaged. It is "
        "measured if the extra imagenet is installed, on images as small as the others'.",
        "The paper's figures are read off its plots.",
        "Contrastive objectives have the paper's temperature 1; “tuned” ones 0.1.",
    ),
)
