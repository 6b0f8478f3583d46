"""The study `dynamics-generalist`: does a model of many walkers plan for one that it never saw?

After Schubert et al. 2023: planning around the model's own policy, compared with following that
policy and with planning without it, zero-shot or tuned on a few episodes.
"""

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
from manyparts.studies.library.settings import ZERO_SHOT_EMBODIMENTS, few_shot_embodiments
from manyparts.training.config import TrainConfig

PLANNING, ALONE, POLICY = "planning", "planning without its policy", "the same model as a policy"
SCRATCH = "planning, learned from scratch"
SIMULATOR, RANDOM = "planning on the true simulator", "random actions"


@dataclass(frozen=True)
class Scale:
    """What a preset of the study fixes. An embodiment is named by its task."""

    size: str
    """The size of the training preset."""
    training: tuple[str, ...]
    """Embodiments of pretraining."""
    unseen: tuple[str, ...]
    """Embodiments that are evaluated."""
    demonstrations: int
    """Successes per training embodiment; failed tries are learned from, too."""
    shots: tuple[int, ...]
    """Numbers of episodes of an unseen embodiment to tune on."""
    tuning_steps: int
    """Optimiser steps of tuning on four episodes or more; fewer in proportion."""
    scratch_steps: int
    """Optimiser steps of a model without pretraining."""
    episodes: int
    """Evaluated episodes per embodiment."""
    max_steps: int
    """Steps of an episode, recorded or evaluated."""
    planner: MppiConfig
    """The planner."""
    noise: Noise = Noise(fraction=0.85, std=0.3)
    """The experts' noise in pretraining."""
    few_noise: Noise = Noise(fraction=1.0, std=0.25)
    """The experts' noise in episodes to tune on. All have noise: without any, they say nothing
    about other actions."""

    @property
    def environment(self) -> EnvConfig:
        """How all episodes are simulated."""
        return EnvConfig(image_size=16, state="shared", max_steps=self.max_steps)


def _scale(preset: str) -> Scale:
    if preset == "debug":
        return Scale(
            size="debug",
            training=_walkers("train", 2),
            unseen=_walkers("test", 1),
            demonstrations=1,
            shots=(1,),
            tuning_steps=4,
            scratch_steps=4,
            episodes=1,
            max_steps=40,
            planner=MppiConfig(candidates=4, horizon=2, policy_proposals=True),
            noise=Noise(fraction=0.0),
            few_noise=Noise(fraction=0.0),
        )
    laptop = preset == "laptop"
    return Scale(
        size=preset,
        training=_two_legged("train", 100) if laptop else _walkers("train", 40),
        unseen=_two_legged("test", 3) if laptop else _walkers("test", 20),
        demonstrations=4 if laptop else 50,
        shots=(1, 5, 20),
        tuning_steps=200 if laptop else 10_000,
        scratch_steps=1000 if laptop else 50_000,
        episodes=3 if laptop else 10,
        max_steps=200 if laptop else 500,
        # It looks as far ahead as the expert. With this noise, planning on the true simulator
        # earns as much as the expert; with a std of 0.5 it earns half of that for a walker of the
        # validation universe. It has as many candidates as there is time for.
        planner=MppiConfig(
            candidates=48 if laptop else 128,
            horizon=18,
            std=0.8,
            correlation=0.7,
            policy_proposals=True,
        ),
    )


def _two_legged(universe: str, count: int) -> tuple[str, ...]:
    """Return the first walkers with two legs and a level torso.

    One kind of walkers can be learned from what a laptop records in a quarter of an hour. Many
    walkers with few episodes each were chosen; the opposite was not compared.
    """
    tasks: list[str] = []
    for index in itertools.count():
        morphology = draw_morphology(f"{universe}-planar-{index:04d}")
        if morphology.stance == "level" and len(morphology.legs) == 2:
            tasks.append(f"walkers/{morphology.name}")
        if len(tasks) == count:
            break
    return tuple(tasks)


def _walkers(universe: str, count: int) -> tuple[str, ...]:
    return tuple(f"walkers/{universe}-planar-{index:04d}" for index in range(count))


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure zero-shot, then by the number of episodes to tune on; seed by seed.

    Args:
        preset: "debug", "laptop" or "paper".
        seeds: How many seeds of each method.
    """
    scale = _scale(preset)
    measured: list[Measurement] = []
    for seed in range(seeds):
        measured += _zero_shot(scale, seed)
        measured += _few_shot(scale, seed)
    return measured


def _zero_shot(scale: Scale, seed: int) -> Iterator[Measurement]:
    run = _pretrained(scale, seed)
    alone = replace(scale.planner, policy_proposals=False)
    for method, planner in ((PLANNING, scale.planner), (ALONE, alone), (POLICY, FollowConfig())):
        evaluations = (_evaluate(run, scale.unseen, scale, planner),)
        yield Measurement(method, ZERO_SHOT_EMBODIMENTS, seed, evaluations, demonstrations=0)
    yield from _references(scale, ZERO_SHOT_EMBODIMENTS, 0, seed)


def _references(scale: Scale, setting: str, shots: int, seed: int) -> Iterator[Measurement]:
    """Measure what learns nothing, and so has one seed only."""
    if seed > 0:
        return
    agents: dict[str, Reference] = {SIMULATOR: "expert", RANDOM: "random"}
    for method, agent in agents.items():
        stage = EvaluateReference(
            agent,
            scale.unseen,
            scale.episodes,
            environment=scale.environment,
            max_steps=scale.max_steps,
        )
        yield Measurement(method, setting, seed, (stage,), demonstrations=shots)


def _few_shot(scale: Scale, seed: int) -> Iterator[Measurement]:
    pretrained = _pretrained(scale, seed)
    for shots in scale.shots:
        setting = few_shot_embodiments(shots)
        tuned = {task: _tuned(pretrained, scale, task, shots, seed) for task in scale.unseen}
        scratch = {task: _from_scratch(scale, task, shots, seed) for task in scale.unseen}
        for method, runs, planner in (
            (PLANNING, tuned, scale.planner),
            (POLICY, tuned, FollowConfig()),
            (SCRATCH, scratch, scale.planner),
        ):
            stages = tuple(_evaluate(run, (task,), scale, planner) for task, run in runs.items())
            yield Measurement(method, setting, seed, stages, demonstrations=shots)
        yield from _references(scale, setting, shots, seed)


def _pretrained(scale: Scale, seed: int) -> Train:
    data = Collect(
        scale.training,
        scale.demonstrations,
        environment=scale.environment,
        noise=scale.noise,
        keep_failures=True,
    )
    return Train(_config(scale, seed), data)


def _tuned(pretrained: Train, scale: Scale, task: str, shots: int, seed: int) -> Train:
    """Tune a run at a lower learning rate, with fewer steps on fewer episodes.

    More would undo the pretraining.
    """
    optimizer = replace(pretrained.config.optimizer, learning_rate=3e-4)
    steps = scale.tuning_steps * min(shots, 4) // 4
    config = _short(replace(pretrained.config, phase="few-shot", optimizer=optimizer), steps)
    return Train(config, _few(scale, task, shots, seed), start_from=pretrained)


def _from_scratch(scale: Scale, task: str, shots: int, seed: int) -> Train:
    config = _short(replace(_config(scale, seed), phase="scratch"), scale.scratch_steps)
    return Train(config, _few(scale, task, shots, seed))


def _few(scale: Scale, task: str, shots: int, seed: int) -> Collect:
    """Record episodes to tune on, others for each seed."""
    return Collect(
        (task,), shots, seed=1000 + seed, environment=scale.environment, noise=scale.few_noise
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


def _evaluate(run: Train, tasks: tuple[str, ...], scale: Scale, planner: PlannerConfig) -> Evaluate:
    return Evaluate(
        run, tasks, scale.episodes, max_steps=scale.max_steps, until_success=False, planner=planner
    )


STUDY = Study(
    name="dynamics-generalist",
    description=(
        "Does a dynamics model of many walkers plan for one that it never saw? debug: for tests. "
        "laptop: 100 planar walkers with two legs and a level torso, 3 unseen ones; 2.5 core "
        "hours. paper: 40 of all kinds, 20 unseen ones, for GPUs."
    ),
    presets=("debug", "laptop", "paper"),
    reference=PLANNING,
    measurements=measurements,
    score="reward a step",
    claims=(
        Claim(PLANNING, POLICY, "planning with a model beats following it as a policy"),
        Claim(PLANNING, ALONE, "its policy's plans help to plan"),
        Claim(PLANNING, SCRATCH, "a model of other walkers helps to learn a new one"),
        Claim(PLANNING, RANDOM, "planning beats random actions by 0.1, and so standing still", 0.1),
    ),
    groups={"Agents": (PLANNING, ALONE, POLICY, SCRATCH, SIMULATOR)},
    notes=(
        "The score is the mean reward per step: 1 is a brisk walk, a sixth is standing still.",
        "Planning tries plans around what the model's own policy would do, as well as plans around "
        "the last one.",
        "No evaluated walker is in the training data. Episodes to tune on are the expert's, all "
        "with noise. A model from scratch has the same ones and five times the optimiser steps "
        "that tuning has at most, but no pretraining.",
        "Intervals are over training seeds, with the same walkers and the same data of "
        "pretraining: they say nothing about other walkers.",
        "Planning on the true simulator is the expert, which has a planner of its own. The paper's "
        "zero-shot planning reaches about half of its score.",
    ),
)
