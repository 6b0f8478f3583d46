"""One evaluated episode: what an evaluating worker does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from manyparts.agents.base import Agent
from manyparts.agents.expert import ExpertAgent
from manyparts.agents.loading import LearnedAgent, load
from manyparts.agents.planning import MpcAgent
from manyparts.agents.policy import PolicyAgent
from manyparts.agents.random import RandomAgent
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Observation, Precision, Prompt
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.evaluation.attention import Attention
from manyparts.evaluation.prompts import episode_prompt
from manyparts.evaluation.results import EpisodeRecord
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.planners import PlannerConfig
from manyparts.rollout.environments import environment
from manyparts.rollout.loop import EpisodeResult, Step, rollout
from manyparts.rollout.video import write_video

Reference = Literal["expert", "random"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)
VIDEO_FRAMES_PER_SECOND = 20
_SECONDS_AFTER_SUCCESS = 1.0


@dataclass(frozen=True)
class EvaluationConfig:
    """What every episode of an evaluation shares. agent: a checkpoint folder, or one that learned
    nothing. environments: of each suite that is evaluated. prompts: a kind of prompt, or the
    instruction itself. device, precision: how the agent runs.

    prompt_task: the task whose prompts are given, whatever the environment's; None: its own.
    until_success: an episode ends with its first solved step. planner: what a dynamics model acts
    with.
    """

    agent: Path | Reference
    environments: Mapping[str, EnvConfig]
    seed: int
    split: Split
    prompts: str
    device: str
    precision: Precision = "fp32"
    prompt_task: str | None = None
    until_success: bool = False
    planner: PlannerConfig | None = None

    def environment(self, task: str) -> EnvConfig:
        return self.environments[task.partition("/")[0]]


@dataclass(frozen=True)
class EvaluationJob:
    """Episode `index` of a task. video: a folder where its video and what its visual tokens look at
    go, or None."""

    task: str
    index: int
    config: EvaluationConfig
    video: Path | None = None


def run_episode(job: EvaluationJob) -> EpisodeRecord:
    """Run one episode to its end: a pure function of the job, whichever process runs it.

    Raises UserError if the environment is of an embodiment that the agent did not learn.
    """
    config = job.config
    env = environment(job.task, config.environment(job.task), config.split)
    camera = None if job.video is None else _Camera(env)
    seed = derive_seed("evaluate", config.seed, job.task, job.index)
    agent = _agent_for(config, env, seed)
    prompt = _prompt(job, agent, env, seed)
    after = 0 if config.until_success else None
    result = rollout(
        env,
        agent,
        seed=seed,
        prompt=prompt,
        explore=False,
        on_step=camera,
        steps_after_success=after,
    )
    if job.video is not None and camera is not None:
        path = job.video / video_name(result)
        if isinstance(agent, PolicyAgent):
            Attention.of(agent, camera.seen).save(path.with_suffix(".npz"))
        write_video(path, camera.frames, fps=camera.frames_per_second)
    return EpisodeRecord(
        task=job.task,
        index=job.index,
        seed=seed,
        prompt=None if prompt is None else prompt.instruction,
        success_any=result.success_any,
        success_last=result.success_last,
        return_=result.return_,
        length=result.length,
        metrics=result.metrics,
    )


def learned_embodiment(info: CheckpointInfo, env: Environment) -> str:
    """The name of an environment's embodiment. Raises UserError if the agent did not learn it,
    saying what differs."""
    learned = EmbodimentSet(tuple(each.spec for each in info.trained))
    return learned.names[
        learned.index(env.embodiment_spec, f"{env.task} has another embodiment than the agent")
    ]


def video_name(episode: EpisodeResult | EpisodeRecord) -> str:
    """<task with / as _>/<success|failure>-<seed>.mp4; an `Attention` beside it ends in .npz."""
    outcome = "success" if episode.success_any else "failure"
    return f"{episode.task.replace('/', '_')}/{outcome}-{episode.seed}.mp4"


class _Camera:
    """Films an episode in real time, at about 20 frames a second, until a second after it is
    solved.

    frames: for people. seen: what the agent saw until it was solved, with its step.
    """

    def __init__(self, env: Environment) -> None:
        rate = env.embodiment_spec.action.control_rate_hz
        self.stride = max(1, round(rate / VIDEO_FRAMES_PER_SECOND))
        self.frames_per_second = rate / self.stride
        self.frames: list[np.ndarray] = []
        self.seen: list[tuple[int, Observation]] = []
        self._env = env
        self._steps_left: float = np.inf

    def __call__(self, step: Step) -> None:
        unsolved = self._steps_left == np.inf
        if unsolved and step.observation is not None:
            self.seen.append((step.index, step.observation))
        if unsolved and step.success:
            self._steps_left = _SECONDS_AFTER_SUCCESS * self.frames_per_second * self.stride
        if self._steps_left > 0 and step.index % self.stride == 0:
            self.frames.append(self._env.render())
        self._steps_left -= 1


def _agent_for(
    config: EvaluationConfig, env: Environment, seed: int
) -> LearnedAgent | ExpertAgent | RandomAgent:
    if config.agent == "expert":
        return ExpertAgent(env)
    draws = derive_seed("act", seed)
    if config.agent == "random":
        return RandomAgent(env.embodiment_spec, seed=draws)
    checkpoint = Path(config.agent)
    embodiment = learned_embodiment(_info(checkpoint), env)
    agent = _agent(checkpoint, config.device, config.precision, embodiment, config.planner)
    return agent.with_seed(draws) if isinstance(agent, MpcAgent) else agent


def _prompt(job: EvaluationJob, agent: Agent, env: Environment, seed: int) -> Prompt | None:
    if not isinstance(agent, PolicyAgent) or not agent.prompted:
        return None
    config = job.config
    task = config.prompt_task or job.task
    shown_in = task if task.partition("/")[0] in config.environments else job.task
    return episode_prompt(
        config.prompts, task, job.index, seed, env, config.environment(shown_in), agent.window
    )


@lru_cache(maxsize=2)
def _agent(
    checkpoint: Path,
    device: str,
    precision: Precision,
    embodiment: str,
    planner: PlannerConfig | None,
) -> LearnedAgent:
    return load(
        checkpoint, device=device, embodiment=embodiment, precision=precision, planner=planner
    )


@lru_cache(maxsize=1)
def _info(checkpoint: Path) -> CheckpointInfo:
    return load_info(checkpoint)
