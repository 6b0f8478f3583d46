"""One attempt of an expert at a task, recorded and staged: what a collecting worker does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from manyparts.agents.expert import ExpertAgent, Noise
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Episode
from manyparts.core.spec import Spec
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.registry import instructions
from manyparts.rollout.environments import environment
from manyparts.rollout.loop import EpisodeResult, Step, rollout
from manyparts.rollout.shards import stage

# An attempt unsolved after this many steps may well fail: the rest is simulated first, and rendered
# if it succeeds.
PATIENT_STEPS = 100


@dataclass(frozen=True)
class CollectConfig:
    """What decides every byte of a collected dataset. episodes: successes kept of each task.

    images: "png" or "video". keep_failures: keep the attempts that failed on the way to those
    successes as well. steps_after_success: steps recorded after the first solved one.
    """

    tasks: tuple[str, ...]
    episodes: int
    seed: int
    environment: EnvConfig
    noise: Noise
    images: Literal["png", "video"]
    keep_failures: bool
    steps_after_success: int


@dataclass(frozen=True)
class RecordedTry:
    """RecordedTry `number` (0, 1, ...) at a task, to be staged under `staging`."""

    task: str
    number: int
    config: CollectConfig
    staging: Path


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt: frames is its length in steps, spec the embodiment it was made
    with."""

    success: bool
    frames: int
    spec: Spec


def record_try(attempt: RecordedTry) -> Outcome:
    """Make one attempt and stage it: a pure function of (config.seed, task, number), whichever
    process runs it."""
    config = attempt.config
    env = environment(attempt.task, config.environment, "train")
    episode, result = record(env, attempt)
    success, spec = result.success_any, env.embodiment_spec
    stage(
        attempt.staging, attempt.task, attempt.number, success=success, episode=episode, spec=spec
    )
    return Outcome(success, result.length, spec)


def record(env: Environment, attempt: RecordedTry) -> tuple[Episode | None, EpisodeResult]:
    """The recorded episode, cut soon after its first success, and its outcome; None for a failure
    not to be kept."""
    config = attempt.config
    seed = derive_seed("collect", config.seed, attempt.task, attempt.number)
    noisy = is_noisy(attempt.number, config.noise.fraction)
    agent = ExpertAgent(env, config.noise, seed=derive_seed("noise", seed))

    def run(observed: range) -> tuple[list[Step], EpisodeResult]:
        steps: list[Step] = []
        options: dict[str, Any] = {"observed": observed, "on_step": steps.append}
        after = config.steps_after_success
        return steps, rollout(
            env, agent, seed=seed, prompt=None, explore=noisy, steps_after_success=after, **options
        )

    patience = env.max_steps if config.keep_failures else PATIENT_STEPS + config.steps_after_success
    steps, result = run(range(patience))
    if result.success_any and result.length > patience:
        again, same = run(range(patience, env.max_steps))
        assert same == result, (same, result)
        steps[patience:] = again[patience:]
    kept = result.success_any or config.keep_failures
    return (_episode(attempt.task, seed, steps) if kept else None), result


def is_noisy(number: int, fraction: float) -> bool:
    """Whether attempt `number` is a noisy one: `fraction` of them are, evenly spread."""
    return math.floor((number + 1) * fraction) > math.floor(number * fraction)


def _episode(task: str, seed: int, steps: list[Step]) -> Episode:
    observations = [step.observation for step in steps]
    first = observations[0]
    assert first is not None
    return Episode(
        task=task,
        instruction=instructions(task).instruction,
        seed=seed,
        images={
            name: np.stack([o["images"][name] for o in observations if o is not None])
            for name in first["images"]
        },
        state=np.stack([o["state"] for o in observations if o is not None]),
        action=np.stack([step.action for step in steps]),
        expert_action=np.stack([step.carry.expert_action for step in steps]),
        reward=np.array([step.reward for step in steps], np.float32),
        success=np.array([step.success for step in steps]),
    )
