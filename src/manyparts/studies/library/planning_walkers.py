"""The study `planning-walkers`: planning compared with the policy on many unseen walkers.

The generalists are those of the study dynamics-generalist, trained again. The plan is
docs/results/plans/planning-walkers.md, and the laptop size of the study is that plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from manyparts.core.errors import UserError
from manyparts.envs.suites.walkers_morphologies import GRAVITY, Morphology, draw_morphology
from manyparts.studies.engine.stages import Collect, Evaluate, EvaluateReference, Train
from manyparts.studies.engine.study import Claim, Measurement, Study
from manyparts.studies.library.dynamics_generalist import ALONE, PLANNING, POLICY, RANDOM, SIMULATOR
from manyparts.studies.library.dynamics_generalist import measurements as archived_measurements
from manyparts.studies.library.settings import ZERO_SHOT_EMBODIMENTS

PRIMARY, REFERENCES = (PLANNING, POLICY), (SIMULATOR, RANDOM)
NEARER, FARTHER = "the nearer half, zero-shot", "the farther half, zero-shot"
BEFORE, THREE_LEGS = "walkers of the archived study, zero-shot", "three legs, zero-shot"
MAX_LEGS, MAX_LINKS = 4, 3  # of planar walkers
FAR_ABOVE = 0.1  # reward per step


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes. The rest is that of the study dynamics-generalist."""

    unseen: tuple[str, ...]
    """Walkers of the primary comparison."""
    before: tuple[str, ...]
    """Walkers that were evaluated before."""
    three_legs: tuple[str, ...]
    """Walkers of a family that training has none of."""
    episodes: int
    """Evaluated episodes per walker."""
    seeds: tuple[int, ...]
    """Training seeds."""
    data_seed: int = 0
    """The seed of the training data."""
    evaluation_seed: int = 0
    """The seed of the starts of episodes."""


@cache
def scale_of(preset: str) -> Scale:
    """Return what a preset fixes."""
    if preset == "debug":
        return Scale(
            unseen=("walkers/test-planar-0000", "walkers/test-planar-0001"),
            before=("walkers/test-planar-0002",),
            three_legs=level_walkers("test", legs=3, first=0, count=1),
            episodes=2,
            seeds=tuple(range(5)),
        )
    return Scale(
        # Walkers 0 to 22 of the test universe were used before.
        unseen=level_walkers("test", legs=2, first=23, count=20),
        before=level_walkers("test", legs=2, first=0, count=3),
        three_legs=level_walkers("test", legs=3, first=23, count=6),
        episodes=2,
        seeds=tuple(range(31_201, 31_206)),
        data_seed=31_200,
        evaluation_seed=31_200,
    )


def level_walkers(universe: str, *, legs: int, first: int, count: int) -> tuple[str, ...]:
    """Return the tasks of the first planar walkers with a level torso and so many legs.

    Args:
        universe: "train", "validation" or "test".
        legs: The number of legs.
        first: The index from which on walkers are looked at.
        count: The number of walkers.
    """
    names = (f"{universe}-planar-{index:04d}" for index in itertools.count(first))
    drawn = (draw_morphology(name) for name in names)
    fitting = (each for each in drawn if each.stance == "level" and len(each.legs) == legs)
    return tuple(f"walkers/{each.name}" for each in itertools.islice(fitting, count))


@cache
def trained(preset: str, seed: int) -> Train:
    """Return the run of a generalist: that of the study dynamics-generalist, on other data.

    Args:
        preset: "debug" or "laptop".
        seed: The training seed.
    """
    archived = _archived(preset, PLANNING)
    assert isinstance(archived, Evaluate)
    run = archived.run
    assert isinstance(run, Train) and isinstance(run.data, Collect)
    return replace(
        run,
        config=replace(run.config, seed=seed),
        data=replace(run.data, seed=scale_of(preset).data_seed),
    )


def training_walkers(preset: str) -> tuple[str, ...]:
    """Return the walkers of pretraining."""
    data = trained(preset, scale_of(preset).seeds[0]).data
    assert isinstance(data, Collect)
    return data.tasks


def distances(tasks: Sequence[str], known: Sequence[str]) -> dict[str, float]:
    """Return each walker's distance to the nearest trained one.

    It is the root mean square over the numbers of `_numbers_of`, each in std of the trained
    walkers. Numbers that these share are left out, so that walkers with other numbers of legs have
    no meaningful distance.

    Args:
        tasks: The walkers to measure.
        known: The walkers of pretraining.
    """
    theirs, asked = (
        np.array([_numbers_of(draw_morphology(task.partition("/")[2])) for task in names])
        for names in (known, tasks)
    )
    std = theirs.std(axis=0)
    varies = std > 1e-9
    offsets = (asked[:, None, varies] - theirs[None, :, varies]) / std[varies]
    nearest = np.sqrt(np.square(offsets).mean(axis=2)).min(axis=1)
    return dict(zip(tasks, nearest.tolist(), strict=True))


def _numbers_of(morphology: Morphology) -> list[float]:
    """Return sizes, mass, and each link's length and torque: what the state says of a walker."""
    numbers = [morphology.torso, morphology.hips_height, morphology.mass]
    unit = morphology.mass * GRAVITY * morphology.hips_height
    lengths, torques = np.zeros((2, MAX_LEGS, MAX_LINKS))
    for row, leg in enumerate(morphology.legs):
        for link, length in enumerate(leg.lengths):
            lengths[row, link] = length
            torques[row, link] = morphology.joint(leg, link, "bend").torque / unit
    return [*numbers, *lengths.ravel().tolist(), *torques.ravel().tolist()]


@cache
def halves(preset: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the unseen walkers that are nearer to a trained one, and those that are farther."""
    by_task = distances(scale_of(preset).unseen, training_walkers(preset))
    ordered = sorted(by_task, key=by_task.__getitem__)
    middle = len(ordered) // 2
    return tuple(ordered[:middle]), tuple(ordered[middle:])


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure the primary pair first, and planning without the policy last.

    What comes last is what is lost if the time does not suffice.

    Args:
        preset: "debug" or "laptop".
        seeds: How many seeds of each method that learns.

    Raises:
        UserError: The study's plan has fewer seeds.
    """
    scale = scale_of(preset)
    if seeds > len(scale.seeds):
        raise UserError(f"seeds is {seeds}; the plan of this study has {len(scale.seeds)}")
    nearer, farther = halves(preset)
    primary = {ZERO_SHOT_EMBODIMENTS: scale.unseen, NEARER: nearer, FARTHER: farther}
    others = {THREE_LEGS: scale.three_legs, BEFORE: scale.before}
    chosen = scale.seeds[:seeds]
    measured: list[Measurement] = []
    for settings in (primary, others):
        for seed in chosen:
            for method in PRIMARY:
                measured += _measured(preset, method, seed, settings)
    for method in REFERENCES:  # they learn nothing, and so have one seed
        measured += _measured(preset, method, chosen[0], primary | others)
    for seed in chosen:
        measured += _measured(preset, ALONE, seed, primary | others)
    return measured


def _measured(
    preset: str, method: str, seed: int, settings: Mapping[str, tuple[str, ...]]
) -> Iterator[Measurement]:
    """Yield the measurements of a method; each walker is a stage of its own."""
    for setting, tasks in settings.items():
        stages = tuple(_evaluation(preset, method, task, seed) for task in tasks)
        yield Measurement(method, setting, seed, stages, demonstrations=0)


def _evaluation(preset: str, method: str, task: str, seed: int) -> Evaluate | EvaluateReference:
    """Return the archived evaluation of a method, on another walker, other starts and data."""
    scale = scale_of(preset)
    archived = _archived(preset, method)
    if isinstance(archived, Evaluate):
        archived = replace(archived, run=trained(preset, seed))
    return replace(archived, tasks=(task,), episodes=scale.episodes, seed=scale.evaluation_seed)


@cache
def _archived(preset: str, method: str) -> Evaluate | EvaluateReference:
    """Return the zero-shot evaluation of a method in the study dynamics-generalist."""
    for measurement in archived_measurements(preset, 1):
        if (measurement.method, measurement.setting) == (method, ZERO_SHOT_EMBODIMENTS):
            return measurement.evaluations[0]
    raise LookupError(method)


STUDY = Study(
    name="planning-walkers",
    description=(
        "Is planning with a model of many walkers better than its policy, on many walkers that it "
        "never saw? Its plan was written before it: docs/results/plans. debug: for tests. laptop: "
        "five generalists on 20 unseen walkers, 3.8 core hours."
    ),
    presets=("debug", "laptop"),
    reference=PLANNING,
    measurements=measurements,
    seeds=5,
    score="reward a step",
    claims=(
        Claim(PLANNING, POLICY, "planning with a model beats following it as a policy"),
        Claim(PLANNING, POLICY, f"planning is above the policy by {FAR_ABOVE}", FAR_ABOVE),
        Claim(PLANNING, ALONE, "its policy's plans help to plan"),
        Claim(PLANNING, RANDOM, "planning beats random actions by 0.1, and so standing still", 0.1),
    ),
    groups={"Agents": (PLANNING, ALONE, POLICY, SIMULATOR, RANDOM)},
    notes=(
        f"The primary comparison is {PLANNING} with {POLICY} in the setting "
        f"“{ZERO_SHOT_EMBODIMENTS}”, with an interval over seeds and walkers, which "
        "scripts/plans/primary.py computes. The intervals here are over training seeds alone, and "
        "say nothing about other walkers.",
        "The score is the mean reward per step: 1 is a brisk walk, a sixth is standing still.",
        "The generalists are trained as those of the study dynamics-generalist, with other seeds, "
        "on other episodes. Both methods of a seed use the same weights.",
        "Halves are by the distance to the nearest trained walker.",
    ),
)
