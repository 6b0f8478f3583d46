"""One dynamics model of many bodies, then bodies that it never saw (Schubert et al. 2023): planning
with it around its own policy, against following that policy and against planning alone, tuned on a
few episodes or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from manyparts.agents.expert import Noise
from manyparts.envs.base import EnvConfig
from manyparts.envs.suites.walkers_morphologies import draw_morphology
from manyparts.evaluation.episodes import Reference
from manyparts.methods import preset as train_preset
from manyparts.planners import FollowConfig, MppiConfig, PlannerConfig
from manyparts.studies.engine.stages import Collect, Evaluate, EvaluateReference, Train, one_process
from manyparts.studies.engine.study import Claim, Measurement, Study
from manyparts.studies.library.settings import ZERO_SHOT_BODIES, few_shot_embodiments
from manyparts.training.config import TrainConfig

PLANNING, ALONE, POLICY = "planning", "planning without its policy", "the same model as a policy"
SCRATCH = "planning, learned from scratch"
SIMULATOR, RANDOM = "planning on the true simulator", "random actions"


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes. size: of the training preset.

    bodies: learned first, each from so many demonstrations, and those that noise spoiled; unseen:
    evaluated. shots: episodes of an unseen body, all with noise: an expert's without any tells
    nothing of other actions. tuning: optimiser steps with four of these or more, with fewer in
    proportion; scratch: of a model that knows nothing else. episodes: of each body, evaluated, of
    so many steps, as those recorded.
    """

    size: str
    bodies: tuple[str, ...]
    unseen: tuple[str, ...]
    demonstrations: int
    shots: tuple[int, ...]
    tuning: int
    scratch: int
    episodes: int
    max_steps: int
    planner: MppiConfig
    noise: Noise = Noise(fraction=0.85, std=0.3)
    few_noise: Noise = Noise(fraction=1.0, std=0.25)

    @property
    def environment(self) -> EnvConfig:
        """Of all that is recorded and evaluated."""
        return EnvConfig(image_size=16, state="shared", max_steps=self.max_steps)


def _scale(preset: str) -> Scale:
    if preset == "debug":
        return Scale(
            size="debug",
            bodies=_bodies("train", 2),
            unseen=_bodies("test", 1),
            demonstrations=1,
            shots=(1,),
            tuning=4,
            scratch=4,
            episodes=1,
            max_steps=40,
            planner=MppiConfig(candidates=4, horizon=2, policy_proposals=True),
            noise=Noise(fraction=0.0),
            few_noise=Noise(fraction=0.0),
        )
    laptop = preset == "laptop"
    return Scale(
        size=preset,
        bodies=_family("train", 100) if laptop else _bodies("train", 40),
        unseen=_family("test", 3) if laptop else _bodies("test", 20),
        demonstrations=4 if laptop else 50,
        shots=(1, 5, 20),
        tuning=200 if laptop else 10_000,
        scratch=1000 if laptop else 50_000,
        episodes=3 if laptop else 10,
        max_steps=200 if laptop else 500,
        # Looks as far ahead as the expert, with noise that on the true simulator earns as much
        # (with a std of .5 half of it on a body of the validation universe); as many candidates as
        # there is time for.
        planner=MppiConfig(
            candidates=48 if laptop else 128,
            horizon=18,
            std=0.8,
            correlation=0.7,
            policy_proposals=True,
        ),
    )


def _family(universe: str, count: int) -> tuple[str, ...]:
    """The first bodies whose torso lies on two legs: so few kinds of bodies can be learned from
    what a laptop records in a quarter of an hour. Rather many bodies than many episodes of each,
    which was not compared."""
    names = (f"{universe}-planar-{index:04d}" for index in itertools.count())
    drawn = (
        body
        for body in map(draw_morphology, names)
        if body.stance == "level" and len(body.legs) == 2
    )
    return tuple(f"walkers/{body.name}" for body in itertools.islice(drawn, count))


def _bodies(universe: str, count: int) -> tuple[str, ...]:
    return tuple(f"walkers/{universe}-planar-{index:04d}" for index in range(count))


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Zero-shot first, then by the number of episodes; seed by seed."""
    scale = _scale(preset)
    return [
        found
        for seed in range(seeds)
        for found in (*_zero_shot(scale, seed), *_few_shot(scale, seed))
    ]


def _zero_shot(scale: Scale, seed: int) -> Iterator[Measurement]:
    run = _pretrained(scale, seed)
    alone = replace(scale.planner, policy_proposals=False)
    for method, planner in ((PLANNING, scale.planner), (ALONE, alone), (POLICY, FollowConfig())):
        yield Measurement(
            method,
            ZERO_SHOT_BODIES,
            seed,
            (_on(run, scale.unseen, scale, planner),),
            demonstrations=0,
        )
    yield from _references(scale, ZERO_SHOT_BODIES, 0, seed)


def _references(scale: Scale, setting: str, shots: int, seed: int) -> Iterator[Measurement]:
    """Of the first seed alone: they learn nothing, so seeds are not theirs."""
    agents: dict[str, Reference] = {SIMULATOR: "expert", RANDOM: "random"}
    for method, agent in agents.items() if not seed else ():
        stage = EvaluateReference(
            agent,
            scale.unseen,
            scale.episodes,
            environment=scale.environment,
            max_steps=scale.max_steps,
        )
        yield Measurement(method, setting, seed, (stage,), demonstrations=shots)


def _few_shot(scale: Scale, seed: int) -> Iterator[Measurement]:
    before = _pretrained(scale, seed)
    for shots in scale.shots:
        tuned = {body: _tuned(before, scale, body, shots, seed) for body in scale.unseen}
        alone = {body: _alone(scale, body, shots, seed) for body in scale.unseen}
        for method, runs, planner in (
            (PLANNING, tuned, scale.planner),
            (POLICY, tuned, FollowConfig()),
            (SCRATCH, alone, scale.planner),
        ):
            stages = tuple(_on(run, (body,), scale, planner) for body, run in runs.items())
            yield Measurement(
                method, few_shot_embodiments(shots), seed, stages, demonstrations=shots
            )
        yield from _references(scale, few_shot_embodiments(shots), shots, seed)


def _pretrained(scale: Scale, seed: int) -> Train:
    data = Collect(
        scale.bodies,
        scale.demonstrations,
        environment=scale.environment,
        noise=scale.noise,
        keep_failures=True,
    )
    return Train(_config(scale, seed), data)


def _tuned(before: Train, scale: Scale, body: str, shots: int, seed: int) -> Train:
    """More gently than it was pretrained, and more shortly the fewer the episodes, lest they undo
    that."""
    gentle = replace(before.config.optimizer, learning_rate=3e-4)
    steps = scale.tuning * min(shots, 4) // 4
    config = _short(replace(before.config, phase="few-shot", optimizer=gentle), steps)
    return Train(config, _few(scale, body, shots, seed), start_from=before)


def _alone(scale: Scale, body: str, shots: int, seed: int) -> Train:
    config = _short(replace(_config(scale, seed), phase="scratch"), scale.scratch)
    return Train(config, _few(scale, body, shots, seed))


def _few(scale: Scale, body: str, shots: int, seed: int) -> Collect:
    """Other seeds see other episodes."""
    return Collect(
        (body,), shots, seed=1000 + seed, environment=scale.environment, noise=scale.few_noise
    )


def _config(scale: Scale, seed: int) -> TrainConfig:
    return one_process(train_preset(f"dynamics/generalist-{scale.size}"), seed=seed)


def _short(config: TrainConfig, steps: int) -> TrainConfig:
    return replace(
        config,
        steps=steps,
        optimizer=replace(config.optimizer, warmup_steps=steps // 10),
        checkpoint_every_steps=steps,
        validation_fraction=0.0,
    )


def _on(run: Train, bodies: tuple[str, ...], scale: Scale, planner: PlannerConfig) -> Evaluate:
    return Evaluate(
        run, bodies, scale.episodes, max_steps=scale.max_steps, until_success=False, planner=planner
    )


STUDY = Study(
    name="dynamics-generalist",
    description=(
        "Does a dynamics model of many walkers plan for a body that it never saw? debug: for tests. laptop: 100 planar "
        "bodies with two legs and a torso that lies, 3 unseen ones; 2.5 core hours. paper: 40 of all kinds and 20, "
        "for GPUs."
    ),
    presets=("debug", "laptop", "paper"),
    reference=PLANNING,
    measurements=measurements,
    score="reward a step",
    claims=(
        Claim(PLANNING, POLICY, "planning with a model beats following it as a policy"),
        Claim(PLANNING, ALONE, "its policy's plans help to plan"),
        Claim(PLANNING, SCRATCH, "a model of other bodies helps to learn a new one"),
        Claim(PLANNING, RANDOM, "planning beats random actions by .1, and so standing still", 0.1),
    ),
    groups={"Agents": (PLANNING, ALONE, POLICY, SCRATCH, SIMULATOR)},
    notes=(
        "The score is the mean reward of a step: 1 is a brisk walk, a sixth is standing still.",
        "Planning tries plans around what the model's own policy would do, beside those around the last plan.",
        "All bodies are unseen: their universe shares none with training's. Episodes to tune on are the expert's, all "
        "with noise; a model from scratch has the same ones and five times the optimiser steps that tuning has at "
        "most, but none of those of pretraining.",
        "Intervals are over training seeds, with the same bodies and data of pretraining: they do not tell of other "
        "bodies.",
        "Planning on the true simulator is the expert, which has a planner of its own. The paper's zero-shot planning "
        "reaches about half of what it earns.",
    ),
)
