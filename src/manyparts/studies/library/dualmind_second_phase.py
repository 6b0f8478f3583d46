"""The study `dualmind-second-phase`: DualMind with the second phase of its paper.

Phase II keeps the trunk and trains the prompt encoder, its attention and the head (variant 1). The
plan is docs/results/plans/dualmind-second-phase.md, and its laptop size is that plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from manyparts.core.errors import UserError
from manyparts.methods import preset as train_preset
from manyparts.methods.dualmind import transformer
from manyparts.studies.engine.stages import Collect, Evaluate, Train, lineage
from manyparts.studies.engine.study import Claim, Measurement, Study
from manyparts.studies.library.dualmind import BOTH, GATO, HEAD, IMITATION, PREFIX, same_seconds
from manyparts.studies.library.dualmind import methods as archived_methods
from manyparts.studies.library.settings import UNSEEN, few_shot, tuned
from manyparts.training.config import TrainConfig

ARCHIVED = "phase II variant 1"  # the method's name in the study dualmind
DUAL = "dual-phase, variant 1"
PREFIX_ALL = "prefix prompts, variant 3"
PRIMARY, SECONDARY = (DUAL, IMITATION), (BOTH, GATO, HEAD, PREFIX, PREFIX_ALL)
TIMED = tuple(same_seconds(method) for method in (IMITATION, BOTH, GATO))
SECONDARY_SEEDS = 4
DECIDED = "unseen goals, tasks that tell methods apart"
REST = "unseen goals, the other tasks"


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes. The rest is that of the study dualmind."""

    size: str
    """The size of the training presets, and the preset of the study dualmind."""
    decided: tuple[str, ...]
    """Training tasks that the primary comparison is about."""
    rest: tuple[str, ...]
    """The other training tasks."""
    held_out: tuple[str, ...]
    """Tasks that training never has."""
    episodes: int
    """Evaluated episodes per task."""
    max_steps: int
    """Steps of an evaluated episode."""
    shots: tuple[int, ...]
    """Numbers of demonstrations of a held-out task."""
    few_shot_steps: int
    """Optimiser steps of tuning."""
    seeds: tuple[int, ...]
    """Training seeds."""
    data_seed: int = 0
    """The seed of the training data."""
    few_seed: int = 1000
    """The seed of the demonstrations to tune on is this plus a number: 0 for the first training
    seed."""
    evaluation_seed: int = 0
    """The seed of the goals."""
    same_seconds: Mapping[str, int] = field(default_factory=dict)
    """One-phase method to the steps that it takes in dual-phase's core seconds."""


def scale_of(preset: str) -> Scale:
    """Return what a preset fixes."""
    if preset == "debug":
        return Scale(
            size="debug",
            decided=("pointmass/reach-red",),
            rest=("pointmass/reach-blue",),
            held_out=("pointmass/reach-green",),
            episodes=2,
            max_steps=12,
            shots=(1,),
            few_shot_steps=4,
            seeds=tuple(range(8)),
            same_seconds={IMITATION: 30, BOTH: 20, GATO: 25},
        )
    return Scale(
        size="laptop",
        # Some method of the archived study solved them more often than 0.1, but not always.
        decided=(
            "metaworld/reach",
            "metaworld/door-open",
            "metaworld/drawer-close",
            "metaworld/button-press-topdown",
            "metaworld/window-open",
        ),
        rest=(
            "metaworld/push",
            "metaworld/pick-place",
            "metaworld/peg-insert-side",
            "metaworld/sweep",
            "metaworld/basketball",
        ),
        held_out=("metaworld/drawer-open", "metaworld/door-close", "metaworld/sweep-into"),
        episodes=20,
        max_steps=300,
        shots=(1, 5, 10),
        few_shot_steps=150,
        seeds=tuple(range(31_101, 31_109)),
        data_seed=31_100,
        few_seed=31_111,
        evaluation_seed=31_100,
        # By the archive's core seconds: scripts/plans/power.py.
        same_seconds={IMITATION: 1160, BOTH: 620, GATO: 870},
    )


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure the primary pair first, then the pair after demonstrations, then the other methods.

    What comes last is what is lost if the time does not suffice.

    Args:
        preset: "debug" or "laptop".
        seeds: How many seeds of the primary pair; the other methods have at most
            `SECONDARY_SEEDS`.

    Raises:
        UserError: The study's plan has fewer seeds.
    """
    scale = scale_of(preset)
    if seeds > len(scale.seeds):
        raise UserError(f"seeds is {seeds}; the plan of this study has {len(scale.seeds)}")
    runs = {seed: methods(scale, seed) for seed in scale.seeds[:seeds]}
    measured: list[Measurement] = []
    for measure in (_unseen, _few_shot):
        for seed, method in itertools.product(runs, PRIMARY):
            measured += measure(method, runs[seed][method], scale)
    for others in (SECONDARY, TIMED):
        for seed, method in itertools.product(list(runs)[:SECONDARY_SEEDS], others):
            measured += _unseen(method, runs[seed][method], scale)
    return measured


def methods(scale: Scale, seed: int) -> Mapping[str, Train]:
    """Return the run of each method: those of the study dualmind, on other data and goals.

    Args:
        scale: What the preset fixes.
        seed: The training seed.
    """
    archived = archived_methods(scale.size, seed)
    variant = archived[ARCHIVED]
    runs = {
        DUAL: variant,
        IMITATION: archived[IMITATION],
        BOTH: archived[BOTH],
        GATO: archived[GATO],
        HEAD: archived[HEAD],
        PREFIX: replace(variant, config=_prefixed(variant.config)),
        PREFIX_ALL: archived[PREFIX],
    }
    for method, steps in scale.same_seconds.items():
        run = runs[method]
        runs[same_seconds(method)] = replace(run, config=replace(run.config, steps=steps))
    return {method: _with_data_of(run, scale.data_seed) for method, run in runs.items()}


def _prefixed(config: TrainConfig) -> TrainConfig:
    """Return a config with a prefix as its prompt; it trains the same parameters."""
    prompt = transformer(config).prompt
    assert prompt is not None
    prompt = replace(prompt, conditioning="prefix")
    return replace(config, model=replace(config.model, prompt=prompt))


def _with_data_of(run: Train, seed: int) -> Train:
    """Return the run and those before it, trained on data of another seed."""
    changed: Train | None = None
    for stage in reversed(list(lineage(run))):
        assert isinstance(stage.data, Collect)
        changed = replace(stage, data=replace(stage.data, seed=seed), start_from=changed)
    assert changed is not None
    return changed


def _unseen(method: str, run: Train, scale: Scale) -> Iterator[Measurement]:
    """Measure at unseen goals: the tasks of the primary comparison, the others, and all."""
    seed = run.config.seed
    decided, rest = (_evaluate(run, tasks, scale) for tasks in (scale.decided, scale.rest))
    yield Measurement(method, DECIDED, seed, (decided,))
    yield Measurement(method, REST, seed, (rest,))
    yield Measurement(method, UNSEEN, seed, (decided, rest))


def _few_shot(method: str, run: Train, scale: Scale) -> Iterator[Measurement]:
    """Measure on held-out tasks, after demonstrations that differ between seeds."""
    seed = run.config.seed
    recipe = train_preset(f"dualmind/phase2-{scale.size}")
    data_seed = scale.few_seed + scale.seeds.index(seed)
    assert isinstance(run.data, Collect)
    for shots in scale.shots:
        evaluations: list[Evaluate] = []
        for task in scale.held_out:
            data = Collect((task,), shots, seed=data_seed, environment=run.data.environment)
            agent = tuned(run, data, recipe, steps=scale.few_shot_steps)
            evaluations.append(_evaluate(agent, (task,), scale))
        yield Measurement(method, few_shot(shots), seed, tuple(evaluations), demonstrations=shots)


def _evaluate(run: Train, tasks: tuple[str, ...], scale: Scale) -> Evaluate:
    return Evaluate(
        run, tasks, scale.episodes, seed=scale.evaluation_seed, max_steps=scale.max_steps
    )


STUDY = Study(
    name="dualmind-second-phase",
    description=(
        "Does learning dynamics first help, if the second phase keeps the trunk? Its plan was "
        "written before it: docs/results/plans. debug: the point mass, for tests. laptop: ML10, "
        "eight seeds of two methods and four of the others, 6.5 core hours."
    ),
    presets=("debug", "laptop"),
    reference=DUAL,
    measurements=measurements,
    seeds=8,
    claims=(
        Claim(DUAL, IMITATION, "dynamics first beats imitation only"),
        Claim(DUAL, same_seconds(IMITATION), "dynamics first beats imitation of equal seconds"),
        Claim(DUAL, BOTH, "two phases beat both losses jointly"),
        Claim(DUAL, GATO, "dual-phase training beats a Gato-style agent"),
        Claim(DUAL, HEAD, "the prompted second phase beats self-supervision with a head"),
        Claim(DUAL, PREFIX, "cross-attention to the prompt beats a prefix"),
    ),
    groups={
        "The primary comparison": PRIMARY,
        "Recipes": (DUAL, IMITATION, BOTH, GATO, HEAD),
        "Equal seconds": (DUAL, *TIMED),
        "How the prompt enters": (DUAL, PREFIX, PREFIX_ALL),
    },
    notes=(
        f"The primary comparison is {DUAL} with {IMITATION} in the setting “{DECIDED}”. All other "
        "comparisons are secondary.",
        "Every method has the same data and the same number of optimiser steps over its phases. A "
        "method with “same seconds” has about the core seconds of dual-phase instead, by the runs "
        "of the archived study.",
        "Data, goals and training seeds are others than those of the archived study.",
        "Prefix prompts train the same parameters as dual-phase; with variant 3 all but the vision "
        "encoder, as in the archived study.",
        "Intervals are over training seeds, with the same data and goals.",
    ),
)
