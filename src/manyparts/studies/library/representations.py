"""Which pretraining objective learns what an unseen task needs? After Brandfonbrener et al. 2023
(arXiv 2305.16985)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from manyparts.agents.expert import Noise
from manyparts.core.errors import UserError
from manyparts.core.extras import install_command
from manyparts.envs import registry
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
from manyparts.studies.library.settings import demonstrations

INVERSE, CLONING, STATES, SCRATCH, RANDOM = (
    "inverse-dynamics",
    "cloning",
    "states",
    "scratch",
    "random",
)
IMAGENET = "imagenet"
BASELINES = (STATES, SCRATCH, RANDOM, IMAGENET)
METHODS = (*OBJECTIVES, *BASELINES)


@dataclass(frozen=True)
class Context:
    """Where the methods are compared. before: the tasks of pretraining; after: those tuned on and
    evaluated.

    latent: the goal is hidden, and tuning and evaluation have one goal that pretraining never had;
    otherwise what is to be done can be seen, and the tasks are new. sizes: pixels at the laptop's
    and at the paper's scale. pretraining, finetuning: numbers of trajectories of the paper, in all
    and a task. usual: its number of demonstrations where it varies something else. max_steps: of an
    evaluated episode at the paper's scale. noise: of the expert, as much as the environment bears.
    steps, episodes: of the paper's pretraining, and evaluated.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    latent: bool
    sizes: tuple[int, int]
    pretraining: tuple[int, ...]
    finetuning: tuple[int, ...]
    usual: int
    max_steps: int | None = None
    cameras: tuple[str, ...] = ()
    noise: Noise = Noise()
    steps: int = 100_000
    episodes: int = 100


_R3M = ("assembly", "bin-picking", "button-press", "drawer-open", "hammer")
_SIDE = ("workspace_side",)


def contexts() -> dict[str, Context]:
    """The paper's environments by name."""
    all_tasks = registry.expand(["metaworld/mt50"])
    r3m = tuple(f"metaworld/{name}" for name in _R3M)
    ml45 = {part: tuple(registry.expand([f"metaworld/ml45-{part}"])) for part in ("train", "test")}
    kitchen = {
        part: tuple(registry.expand([f"kitchen/combinations-{part}"])) for part in ("train", "test")
    }
    doors = tuple(f"metaworld/door-{name}" for name in ("unlock", "close", "open"))
    rest = tuple(task for task in all_tasks if task not in r3m)
    return {
        "pointmass": Context(
            ("pointmass/reach",),
            ("pointmass/reach",),
            True,
            (64, 84),
            (10, 100, 1000),
            (1, 2, 5, 10),
            2,
        ),
        "pick-place": Context(
            ("metaworld/pick-place",),
            ("metaworld/pick-place",),
            True,
            (64, 120),
            (10, 100, 1000),
            (2, 5, 10, 20),
            5,
            300,
        ),
        "doors": Context(
            doors,
            ("metaworld/door-lock",),
            False,
            (64, 120),
            (10, 100, 1000),
            (2, 5, 10, 20),
            10,
            300,
            _SIDE,
        ),
        "ml45": Context(
            ml45["train"],
            ml45["test"],
            False,
            (64, 120),
            (100, 1000, 10_000),
            (2, 5, 10, 20),
            10,
            300,
            _SIDE,
            steps=200_000,
        ),
        "kitchen": Context(
            kitchen["train"],
            kitchen["test"],
            False,
            (64, 120),
            (50, 150, 450),
            (2, 5, 10, 15),
            10,
            noise=Noise(std=0.05),
            steps=200_000,
            episodes=50,
        ),
        "r3m": Context(
            rest,
            r3m,
            False,
            (64, 120),
            (100, 1000, 10_000),
            (2, 5, 10, 20),
            10,
            300,
            _SIDE,
            steps=200_000,
        ),
    }


@dataclass(frozen=True)
class Choice:
    """What of the study is run; empty: what its preset has. sizes: numbers of trajectories, in all
    and a task. pretrain_steps: optimiser steps of every pretraining."""

    environments: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    pretrain_sizes: tuple[int, ...] = ()
    finetune_sizes: tuple[int, ...] = ()
    pretrain_steps: int | None = None

    def __post_init__(self) -> None:
        if self.pretrain_steps is not None and self.pretrain_steps < 1:
            raise UserError(f"pretrain_steps is {self.pretrain_steps}; expected at least 1")
        for name, known in (("environments", tuple(contexts())), ("objectives", METHODS)):
            for each in getattr(self, name):
                if each not in known:
                    raise UserError(
                        f"unknown {name.removesuffix('s')} {each!r}; choices: {', '.join(known)}"
                    )
            refuse_repeated(name, getattr(self, name))
        for name in ("pretrain_sizes", "finetune_sizes"):
            refuse_repeated(name, getattr(self, name))
            if any(size < 1 for size in getattr(self, name)):
                raise UserError(f"{name} are {getattr(self, name)}; expected numbers of at least 1")


def refuse_repeated(name: str, chosen: Sequence[str] | Sequence[int]) -> None:
    """Raises UserError where something is chosen twice: its results would count as those of further
    seeds."""
    repeated = [str(each) for each in dict.fromkeys(chosen) if chosen.count(each) > 1]
    if repeated:
        raise UserError(f"{name} has {', '.join(repeated)} more than once; name each once")


_PRESETS: dict[str, Choice] = {
    "debug": Choice(("pointmass",), METHODS, (6,), (2,)),
    "laptop": Choice(("pointmass", "pick-place", "doors"), METHODS, (30, 300)),
    "paper": Choice(tuple(contexts()), METHODS),
}
_PROBED = {"debug": 6, "laptop": 50, "paper": 50}
_EPISODES = {"debug": 2, "laptop": 50}
_LONGEST = 200  # steps of an evaluated episode on laptops; experts' median is 75 (pick-place), 150 (door-lock)
_CHEAPEST = "pointmass"  # where laptops vary the numbers of trajectories and of demonstrations
_AT_SMALLER_SIZES = {
    "debug": tuple(OBJECTIVES),
    "laptop": (INVERSE, CLONING),
    "paper": tuple(OBJECTIVES),
}


def study(choice: Choice = Choice()) -> Study:
    """The study of what was chosen."""

    def measurements(preset: str, seeds: int) -> list[Measurement]:
        return measured(preset, seeds, choice)

    return replace(STUDY, measurements=measurements)


def measured(preset: str, seeds: int, choice: Choice) -> list[Measurement]:
    """Every method at every number of demonstrations, the largest pretraining first; seed by seed.
    At smaller ones are those that the preset has there, or all that were chosen; on laptops where
    they cost least, unless chosen."""
    smaller = OBJECTIVES if choice.objectives else _AT_SMALLER_SIZES[preset]
    everywhere = preset != "laptop" or choice.pretrain_sizes or choice.objectives
    choice, found = _chosen(preset, choice), []
    for seed in range(seeds):
        for name in choice.environments:
            context = contexts()[name]
            totals = _totals(context, choice)
            for total in totals if everywhere or name == _CHEAPEST else totals[:1]:
                for method in choice.objectives:
                    if total == totals[0] or method in smaller:
                        found += _of_method(preset, seed, name, method, total, choice)
    return found


def _totals(context: Context, choice: Choice) -> list[int]:
    """Numbers of pretraining trajectories, the largest first: of sizes the most that every task has
    as many of, and at least one a task; once where two sizes come to the same."""
    tasks, sizes = len(context.before), choice.pretrain_sizes or context.pretraining
    return sorted({max(1, size // tasks) * tasks for size in sizes}, reverse=True)


def _chosen(preset: str, choice: Choice) -> Choice:
    usual = _PRESETS[preset]
    if IMAGENET in choice.objectives and not has_imagenet():
        raise UserError(f"imagenet needs its weights: {install_command('imagenet')}")
    present = tuple(method for method in usual.objectives if method != IMAGENET or has_imagenet())
    return Choice(
        choice.environments or usual.environments,
        choice.objectives or present,
        choice.pretrain_sizes or usual.pretrain_sizes,
        choice.finetune_sizes or usual.finetune_sizes,
        choice.pretrain_steps,
    )


def _of_method(
    preset: str, seed: int, name: str, method: str, total: int, choice: Choice
) -> list[Measurement]:
    context = contexts()[name]
    largest = total == _totals(context, choice)[0]
    found = []
    for shots in choice.finetune_sizes or (
        context.finetuning if preset == "paper" else _few(name, context)
    ):
        steps = choice.pretrain_steps or (context.steps if preset == "paper" else None)
        runs = [
            _tuned(preset, seed, context, method, total, shots, task, steps)
            for task in context.after
        ]
        evaluations = tuple(
            Evaluate(
                run,
                (task,),
                _EPISODES.get(preset, context.episodes),
                seed=seed,
                max_steps=_longest(preset, context),
            )
            for run, task in zip(runs, context.after, strict=True)
        )
        after = "" if largest else f", pretrained on {total}"
        setting = f"{name}, {demonstrations(shots)}{after}"
        found.append(
            Measurement(
                method,
                setting,
                seed,
                evaluations,
                demonstrations=shots,
                pretraining=total if method in OBJECTIVES else None,
                environment=name,
                probe=_probe(preset, context, runs[0]),
            )
        )
    return found


def _longest(preset: str, context: Context) -> int | None:
    """Steps of an evaluated episode; None: as many as the environment has."""
    if context.max_steps is None or preset == "paper":
        return context.max_steps
    return min(context.max_steps, _LONGEST)


def _few(name: str, context: Context) -> tuple[int, ...]:
    """The paper's usual number of demonstrations, for laptops, and a larger one where it costs
    least."""
    return (context.usual, 10) if name == _CHEAPEST else (context.usual,)


def _probe(preset: str, context: Context, run: Train) -> Probe:
    """Of the representation as it was pretrained, or of the whole run where there was no
    pretraining; of all seeds on the same demonstrations."""
    each = max(1, _PROBED[preset] // len(context.before))
    data = Collect(context.before, each, 2000, _environment(preset, context, None), context.noise)
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
    """The policy of one task after a few demonstrations of it. total: trajectories of pretraining,
    over all tasks."""
    latent = seed if context.latent else None
    few = Collect((task,), shots, 1000 + seed, _environment(preset, context, latent), context.noise)
    each = total // len(context.before)
    many = Collect(context.before, each, seed, _environment(preset, context, None), context.noise)
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
    """A policy by one of `METHODS`: pretrained on `many` where the method does that, tuned on
    `few`. steps: of the pretraining; None: those of `size`."""
    if method in (STATES, SCRATCH):
        return Train(
            one_process((finetune_states if method == STATES else from_scratch)(size), seed=seed),
            few,
        )
    untaught = {RANDOM: untrained, IMAGENET: imagenet}
    config = untaught[method](size) if method in untaught else pretrain(method, size)
    if steps is not None and method not in untaught:
        config = replace(config, steps=steps, checkpoint_every_steps=max(1, steps // 4))
    start = Train(one_process(config, seed=seed), many)
    return Train(
        one_process(replace(finetune(size), model=config.model), seed=seed), few, start_from=start
    )


def _environment(preset: str, context: Context, latent: int | None) -> EnvConfig:
    size = 16 if preset == "debug" else context.sizes[preset == "paper"]
    goal = "hidden" if context.latent else "visible"
    return EnvConfig(
        image_size=size, cameras=context.cameras, goal=goal, state="full", context=latent
    )


def _scale(preset: str) -> Size:
    return "debug" if preset == "debug" else "paper" if preset == "paper" else "laptop"


def _rivals(methods: Sequence[str]) -> tuple[Claim, ...]:
    return tuple(Claim(INVERSE, rival, f"inverse dynamics beats {rival}") for rival in methods)


def _by_ten_points(methods: Sequence[str]) -> tuple[Claim, ...]:
    """That the reference is so far above each, where pretraining is largest."""
    return tuple(
        Claim(
            INVERSE,
            rival,
            f"inverse dynamics beats {rival} by 10 points",
            0.1,
            largest_pretraining=True,
        )
        for rival in methods
    )


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
_PLACES = ("pointmass", "pick-place", "doors", "kitchen", "ml45", "r3m")
_PUBLISHED = {  # success with the largest pretraining and the usual number of demonstrations, read off the plots
    STATES: (0.62, 0.77, 0.90, 0.17, 0.78, 0.82),
    INVERSE: (0.72, 0.83, 0.39, 0.43, 0.52, 0.61),
    SCRATCH: (0.24, 0.51, 0.38, 0.45, 0.44, 0.68),
    CLONING: (0.25, 0.75, 0.49, 0.19, 0.51, 0.58),
}


def _published() -> dict[tuple[str, str], float]:
    known = contexts()
    return {
        (method, f"{place}, {demonstrations(known[place].usual)}"): success
        for method, figures in _PUBLISHED.items()
        for place, success in zip(_PLACES, figures, strict=True)
    }


def _published_pretraining() -> dict[str, int]:
    """Of each setting of `_published`: the paper's largest number of trajectories there."""
    return {
        f"{place}, {demonstrations(context.usual)}": max(context.pretraining)
        for place, context in contexts().items()
    }


STUDY = Study(
    name="representations",
    description=(
        "Which pretraining objective learns what an unseen task needs? A representation is learned from many contexts' "
        "trajectories and frozen; then a policy from a few demonstrations of one context. debug: the point mass, for "
        "tests. laptop: point mass, pick-place and doors at 64 px; in the point mass also with more demonstrations "
        "and, for two objectives, smaller pretraining. paper: its sizes and schedules, for GPUs."
    ),
    presets=("debug", "laptop", "paper"),
    reference=INVERSE,
    measurements=lambda preset, seeds: measured(preset, seeds, Choice()),
    claims=(
        *_rivals(_LEARNED),
        *_rivals((SCRATCH, RANDOM, IMAGENET)),
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
    published=_published(),
    published_pretraining=_published_pretraining(),
    notes=(
        "Settings without “pretrained on” have the largest number of pretraining trajectories.",
        "In point mass and pick-place the goal is hidden: pretraining sees many goals, tuning and evaluation one that "
        "it never had (another for each seed). The door's lock is a task that pretraining never saw.",
        "states: the same policy on the simulator's true state, without the goal where it is hidden, of the few "
        "demonstrations alone. scratch: encoder and policy together on the demonstrations, with shifted images. "
        "random: the encoder as it is drawn. imagenet: EfficientNet-Lite0 as it was trained on photographs, its last "
        "features averaged; measured where the extra imagenet is installed, on pictures as small as the others'.",
        "The paper's figures are read off its plots.",
        "Contrastive objectives have the paper's temperature 1; “tuned” ones 0.1.",
    ),
)
