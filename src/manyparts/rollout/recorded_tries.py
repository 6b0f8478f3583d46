"""Recorded tries: one try of an expert or another policy at a task, written as a shard. It is a
collecting worker's job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from manyparts.agents.base import Agent
from manyparts.agents.expert import ExpertAgent, ExpertCarry, Noise
from manyparts.agents.random import RandomAgent
from manyparts.core.errors import UserError
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Episode, Prompt
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.spec import Spec
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.registry import instruction_of, said_in
from manyparts.models.run_files import weights_of
from manyparts.rollout.environments import environment
from manyparts.rollout.loop import EpisodeResult, Step, rollout
from manyparts.rollout.mailbox import PortableJobs
from manyparts.rollout.shards import write_shard

EXPERT, RANDOM = "expert", "random"
# A try that is unsolved after this many steps is likely to fail. Its later steps are simulated
# without rendering, and rendered in a second run if it succeeds.
RENDERED_STEPS = 100


@dataclass(frozen=True)
class CollectConfig:
    """What decides every byte of a collected dataset."""

    tasks: tuple[str, ...]
    """Names of tasks, each "suite/task"."""
    episodes: int
    """Successes recorded per task."""
    seed: int
    """The seed that all others are derived from."""
    environment: EnvConfig
    """How the tasks are simulated and rendered."""
    noise: Noise
    """The noise that is added to the experts' actions."""
    images: Literal["png", "video"]
    """How images are stored: "png" is lossless, "video" is smaller."""
    keep_failures: bool
    """Whether failed tries are episodes of the dataset, too."""
    steps_after_success: int
    """Steps recorded after the first solved one."""
    policy: str = EXPERT
    """Who acts: "expert", "random", or the folder of a checkpoint."""

    @property
    def counts_failures(self) -> bool:
        """Whether a failed try counts as one of the episodes: of experts only successes do."""
        return self.policy != EXPERT

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that decide how the policy acts, apart from the package's own."""
        return () if self.policy in (EXPERT, RANDOM) else (weights_of(Path(self.policy)),)

    def keeps(self, success: bool | None) -> bool:
        """Whether a try is an episode of the dataset.

        Args:
            success: Whether the task was solved; None where nobody knows.
        """
        return success is not False or self.keep_failures or self.counts_failures


@dataclass(frozen=True)
class RecordedTry:
    """One try at a task, which is recorded as a shard."""

    task: str
    """"suite/task"."""
    number: int
    """Its number among the tries at this task, from 0."""
    config: CollectConfig
    """How it is made."""
    shards: Path
    """The folder of the shards."""


@dataclass(frozen=True)
class Outcome:
    """How a try ended."""

    success: bool | None
    """Whether the task was solved; None where nobody knows."""
    frames: int
    """How many frames were recorded; 0 if it is not kept."""
    spec: Spec
    """The embodiment that it was made with."""


def record_try(job: RecordedTry) -> Outcome:
    """Make one try and write its shard.

    A pure function of (config, task, number), whichever process runs it.
    """
    env = environment(job.task, job.config.environment, "train")
    episode, result = record_episode(env, job)
    success, spec = result.success_any, env.embodiment_spec
    write_shard(
        job.shards,
        job.task,
        job.number,
        success=success,
        episode=episode,
        spec=spec,
        terminates=env.can_terminate,
    )
    return Outcome(success, 0 if episode is None else len(episode), spec)


def portable_tries(config: CollectConfig, shards: Path) -> PortableJobs[RecordedTry, Outcome]:
    """Return the tries of a collection as jobs for other machines.

    Args:
        config: How all of them are made.
        shards: The folder of the shards, which all machines see.
    """
    return PortableJobs(
        function=f"{__name__}:record_portable_try",
        shared={"config": to_jsonable(config), "shards": str(shards.resolve())},
        write=lambda job: {"task": job.task, "number": job.number},
        read=lambda values: Outcome(**values | {"spec": Spec.from_dict(values["spec"])}),
    )


def record_portable_try(shared: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Do as `record_try` with JSON values.

    Args:
        shared: What `portable_tries` says of all tries.
        values: The task and the number of one.
    """
    config = from_jsonable(CollectConfig, shared["config"])
    outcome = record_try(
        RecordedTry(values["task"], values["number"], config, Path(shared["shards"]))
    )
    spec = outcome.spec.to_dict()
    return {"success": outcome.success, "frames": outcome.frames, "spec": spec}


def is_noisy(number: int, fraction: float) -> bool:
    """Return whether a try is a noisy one.

    Args:
        number: The try's number among those of its task, from 0.
        fraction: Fraction of the numbers that are noisy, from 0 to 1. They are evenly spread.
    """
    return math.floor((number + 1) * fraction) > math.floor(number * fraction)


def record_episode(env: Environment, job: RecordedTry) -> tuple[Episode | None, EpisodeResult]:
    """Make a try, and record it.

    Args:
        env: The environment of the job's task.
        job: Which try, and how it is made.

    Returns:
        The recorded episode (None for a failure that is not kept), and its outcome.
    """
    config = job.config
    seed = derive_seed("collect", config.seed, job.task, job.number)
    noisy = config.policy == EXPERT and is_noisy(job.number, config.noise.fraction)
    agent = _agent(env, config, seed)
    prompt = _prompt(env, agent, seed)

    def run(observed: range) -> tuple[list[Step], EpisodeResult]:
        """Run the episode, with observations only at the steps `observed`."""
        steps: list[Step] = []
        result = rollout(
            env,
            agent,
            seed=seed,
            prompt=prompt,
            explore=noisy,
            observed=observed,
            on_step=steps.append,
            steps_after_success=config.steps_after_success,
        )
        return steps, result

    if config.keeps(False) or not (env.knows_success and env.reproduces):
        rendered = env.max_steps
    else:
        rendered = RENDERED_STEPS + config.steps_after_success
    steps, result = run(range(rendered))
    if result.success_any and len(steps) > rendered:
        # A late success: the same episode again, now with observations of the steps that lack them.
        later_steps, same_result = run(range(rendered, env.max_steps))
        # Metrics may be NaN, which equals nothing.
        if replace(same_result, metrics={}) != replace(result, metrics={}):
            raise UserError(
                f"{job.task} gave another episode when seed {seed} was played again: of "
                f"{same_result.length} steps and return {same_result.return_:.6g}, not of "
                f"{result.length} and {result.return_:.6g}; if its seeds do not decide all, "
                'declare it with seeding="none"'
            )
        steps[rendered:] = later_steps[rendered:]
    if not config.keeps(result.success_any):
        return None, result
    return _episode(env, seed, steps, terminated=result.terminated), result


def _agent(env: Environment, config: CollectConfig, seed: int) -> Agent:
    """Who acts in the episode of a seed."""
    if config.policy == EXPERT:
        return ExpertAgent(env, config.noise, seed=derive_seed("noise", seed))
    if config.policy == RANDOM:
        return RandomAgent(env.embodiment_spec, seed=derive_seed("act", seed))
    # It loads torch, which workers of experts do without.
    from manyparts.agents.for_environment import agent_for

    return agent_for(Path(config.policy), env, seed)


def _prompt(env: Environment, agent: Agent, seed: int) -> Prompt | None:
    """The instruction of the episode of a seed, for an agent that needs one."""
    if not agent.prompted:
        return None
    return Prompt(instruction_of(env, seed))


def _episode(env: Environment, seed: int, steps: list[Step], *, terminated: bool) -> Episode:
    observations = [step.observation for step in steps if step.observation is not None]
    cameras = observations[0]["images"]
    return Episode(
        task=env.task,
        instruction=said_in(env),
        seed=seed,
        images={
            camera: np.stack([observation["images"][camera] for observation in observations])
            for camera in cameras
        },
        state=np.stack([observation["state"] for observation in observations]),
        action=np.stack([step.action for step in steps]),
        expert_action=np.stack([_meant(step) for step in steps]),
        reward=np.array([step.reward for step in steps], np.float32),
        success=np.array([bool(step.success) for step in steps]),
        terminated=terminated,
    )


def _meant(step: Step) -> np.ndarray:
    """What imitation learns of a step: an expert's action before noise, else what was done."""
    return step.carry.expert_action if isinstance(step.carry, ExpertCarry) else step.action
