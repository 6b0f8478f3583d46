"""The study `vid2act`: does it help a learner that acts to have teachers of other tasks?

Vid2Act (Pan et al. 2023, arXiv 2306.03360), its parts one by one, and its rivals. The plan is
docs/results/plans/vid2act.md, and the laptop size of the study is that plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from manyparts.core.errors import UserError
from manyparts.envs.base import NO_CAMERA, EnvConfig
from manyparts.evaluation.episodes import Reference
from manyparts.studies.engine.stages import Evaluate, EvaluateReference, TrainOnline
from manyparts.studies.engine.study import Claim, Curves, Measurement, Study
from manyparts.studies.library.vid2act_methods import (
    DISTILLED,
    FINETUNED,
    NO_DISTILLATION,
    NO_REPLAY,
    ONE,
    PRIMARY,
    REHEARSED,
    SCRATCH,
    SECONDARY,
    UNIFORM,
    UNTRAINED,
    VID2ACT,
    WEIGHTS,
    Scale,
    Target,
    runs,
    weighted,
)

FROM_IMAGES = (VID2ACT, SCRATCH, NO_DISTILLATION, REHEARSED)
FROM_REPLAYS = (VID2ACT, DISTILLED, SCRATCH)  # scratch has no sources: it is that from states
EXPERT, RANDOM = "scripted expert", "random actions"
BOTH = "both tasks, from states"
FEW = 3  # seeds of all but the settings from states
_REFERENCES: Mapping[str, Reference] = {EXPERT: "expert", RANDOM: "random"}
_Runs = Mapping[str, Mapping[str, TrainOnline]]  # task, then method


def scale_of(preset: str) -> Scale:
    """Return what a preset fixes."""
    if preset == "debug":
        steps = {
            "environment_steps": 110,
            "prefill_steps": 30,
            "train_ratio": 64.0,
            "evaluate_every_steps": 40,
            "evaluation_episodes": 1,
        }
        return Scale(
            size="debug",
            targets=(
                Target("pointmass/reach", full=10.0, related=0),
                Target("pointmass/reach-red", full=10.0, related=1),
            ),
            sources=("pointmass/reach-left", "pointmass/reach-right"),
            episodes=2,
            environment=EnvConfig(state="full", cameras=(NO_CAMERA,), max_steps=20),
            images=EnvConfig(image_size=16, state="full", max_steps=20),
            seeds=tuple(range(5)),
            demonstrations=2,
            image_steps=110,
            source_steps=110,
            online=steps,
            teacher_steps=2,
        )
    return Scale(
        size="laptop",
        # The full returns are the expert's in the pilot, scripts/plans/vid2act_pilot.py.
        targets=(
            Target("metaworld/door-open", full=1400.0, related=0),
            Target("metaworld/door-lock", full=1050.0, related=3),
        ),
        # Three move a door, a drawer or a window by its handle; three only reach and push.
        sources=(
            "metaworld/drawer-open",
            "metaworld/door-close",
            "metaworld/window-close",
            "metaworld/faucet-close",
            "metaworld/reach",
            "metaworld/button-press",
        ),
        episodes=20,
        environment=EnvConfig(state="full", cameras=(NO_CAMERA,), max_steps=200, action_repeat=2),
        images=EnvConfig(image_size=32, state="full", max_steps=200, action_repeat=2),
        seeds=tuple(range(31_301, 31_306)),
        data_seed=31_300,
        source_seed=31_310,
        evaluation_seed=31_300,
    )


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure the primary methods first, then all others seed by seed.

    What comes last is what is lost if the time does not suffice: seeds, and not methods.

    Args:
        preset: "debug" or "laptop".
        seeds: How many seeds of the settings from states; the others have at most `FEW`.

    Raises:
        UserError: The study's plan has fewer seeds.
    """
    scale = scale_of(preset)
    if seeds > len(scale.seeds):
        raise UserError(f"seeds is {seeds}; the plan of this study has {len(scale.seeds)}")
    chosen = scale.seeds[:seeds]
    made = {
        seed: {target.task: runs(scale, target, seed) for target in scale.targets}
        for seed in chosen
    }
    measured: list[Measurement] = []
    for seed in chosen:
        for method in PRIMARY:
            measured += _from_states(scale, method, seed, made[seed])
    measured += _references(scale, chosen[0])
    for number, seed in enumerate(chosen):
        for method in SECONDARY:
            measured += _from_states(scale, method, seed, made[seed])
        if number < FEW:
            measured += _few(scale, seed, made[seed])
    return measured


def _references(scale: Scale, seed: int) -> Iterator[Measurement]:
    """Measure who learns nothing, in each setting from states."""
    for method, agent in _REFERENCES.items():
        stages = {
            target.task: EvaluateReference(
                agent,
                (target.task,),
                scale.episodes,
                seed=scale.evaluation_seed,
                environment=scale.environment,
            )
            for target in scale.targets
        }
        yield from _in_settings(method, seed, stages)


def _from_states(scale: Scale, method: str, seed: int, made: _Runs) -> Iterator[Measurement]:
    """Measure a method on each target, and on both together."""
    stages = {task: _evaluated(scale, methods[method]) for task, methods in made.items()}
    yield from _in_settings(method, seed, stages)


def _in_settings(
    method: str, seed: int, stages: Mapping[str, Evaluate | EvaluateReference]
) -> Iterator[Measurement]:
    yield Measurement(method, BOTH, seed, tuple(stages.values()))
    for task, stage in stages.items():
        yield Measurement(method, states(task), seed, (stage,))


def _few(scale: Scale, seed: int, made: _Runs) -> Iterator[Measurement]:
    """Measure what has fewer seeds: weights of distillation, images, and other sources."""
    target = scale.targets[0]
    task = target.task
    seen, acted = runs(scale, target, seed, "images"), runs(scale, target, seed, "replays")
    for setting, of_methods, methods in (
        (states(task), made[task], [weighted(weight) for weight in WEIGHTS]),
        (images(task), seen, FROM_IMAGES),
        (replays(task), acted, FROM_REPLAYS),
    ):
        for method in methods:
            yield Measurement(method, setting, seed, (_evaluated(scale, of_methods[method]),))


def _evaluated(scale: Scale, run: TrainOnline) -> Evaluate:
    return Evaluate(
        run, (run.task,), scale.episodes, seed=scale.evaluation_seed, until_success=False
    )


def states(task: str) -> str:
    """Return the name of the setting in which a task is learned from states."""
    return f"{_name(task)}, from states"


def images(task: str) -> str:
    """Return the name of the setting in which a task is learned from images."""
    return f"{_name(task)}, from images"


def replays(task: str) -> str:
    """Return the name of the setting with replays of agents that acted as sources."""
    return f"{_name(task)}, sources from replays"


def _name(task: str) -> str:
    return task.partition("/")[2]


STUDY = Study(
    name="vid2act",
    description=(
        "Does it help a learner that acts to have teachers of other tasks, and which part of it "
        "does? Its plan was written before it: docs/results/plans. debug: the point mass, for "
        "tests. laptop: two tasks of Meta-World, 30,000 environment steps a run, ten methods at "
        "five seeds, about 25 core hours, of which the first 20 hold three seeds of everything."
    ),
    presets=("debug", "laptop"),
    reference=SCRATCH,
    measurements=measurements,
    seeds=5,
    score="return while learning",
    curves=Curves(
        full={
            target.task: target.full
            for preset in ("debug", "laptop")
            for target in scale_of(preset).targets
        }
    ),
    claims=(
        Claim(VID2ACT, SCRATCH, "Vid2Act beats learning from scratch"),
        Claim(DISTILLED, SCRATCH, "distillation alone beats learning from scratch"),
        Claim(VID2ACT, FINETUNED, "Vid2Act beats finetuning"),
        Claim(DISTILLED, FINETUNED, "distillation alone beats finetuning"),
        Claim(VID2ACT, NO_DISTILLATION, "distillation is a part of what helps"),
        Claim(VID2ACT, NO_REPLAY, "the replay of actions is a part of what helps"),
        Claim(DISTILLED, NO_REPLAY, "the floor of the weights costs"),
        Claim(VID2ACT, UNIFORM, "learned weights beat uniform ones"),
        Claim(VID2ACT, ONE, "six teachers beat the one that is most like the task"),
        Claim(VID2ACT, UNTRAINED, "it is what the teachers know that helps"),
        Claim(VID2ACT, REHEARSED, "Vid2Act beats finetuning with rehearsal"),
    ),
    groups={
        "The primary comparisons": PRIMARY,
        "Parts": (VID2ACT, NO_DISTILLATION, NO_REPLAY, DISTILLED, SCRATCH),
        "Teachers": (VID2ACT, UNIFORM, ONE, UNTRAINED, SCRATCH),
        "Rivals": (VID2ACT, DISTILLED, FINETUNED, REHEARSED, SCRATCH),
        "Weights of distillation": (VID2ACT, *map(weighted, WEIGHTS)),
    },
    notes=(
        "The score is the mean return of a run's checks on validation starts, from the first check "
        "to the last, as a fraction of the scripted expert's. The curve of who learns nothing is "
        "flat, at its return on evaluation starts.",
        f"The primary comparisons are the first four claims in the setting “{BOTH}”. All others "
        "are secondary.",
        "Sources are episodes of noisy experts. In the setting “sources from replays” they are "
        "those of agents that learned the source's task by acting.",
        "A seed is one agent with teachers of its own. All seeds share the sources.",
        "Runs of one task and kind have the same environment steps. Core hours count teachers, "
        "and the runs that made sources.",
    ),
)
