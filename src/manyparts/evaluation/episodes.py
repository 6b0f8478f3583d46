"""One evaluated episode: what an evaluating worker does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from manyparts.agents.base import Agent, Windowed
from manyparts.agents.delayed import DelayedAgent
from manyparts.agents.expert import ExpertAgent
from manyparts.agents.for_environment import agent_for
from manyparts.agents.policy import PolicyAgent
from manyparts.agents.random import RandomAgent
from manyparts.agents.remote import RemoteAgent
from manyparts.agents.server import Remote
from manyparts.agents.viewed import ViewedAgent, seen_as, unviewed
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Observation, Precision, Prompt
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.spec import Spec
from manyparts.data.sampling.config import WindowConfig
from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.registry import suite_of
from manyparts.evaluation.attention import Attention
from manyparts.evaluation.episode_prompts import episode_prompt
from manyparts.evaluation.record import EpisodeRecord, outcome_of
from manyparts.planners import PlannerConfig
from manyparts.rollout.environments import environment, settings_of
from manyparts.rollout.loop import EpisodeResult, Step, rollout
from manyparts.rollout.mailbox import PortableJobs
from manyparts.rollout.video import write_video

Reference = Literal["expert", "random"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)
VIDEO_FRAMES_PER_SECOND = 20
_SECONDS_AFTER_SUCCESS = 1.0


@dataclass(frozen=True)
class EvaluationConfig:
    """What every episode that worker processes evaluate shares."""

    agent: Path | Reference | Remote
    """A checkpoint folder, one of the agents that learned nothing, or where one is served."""

    environments: Mapping[str, EnvConfig]
    """The environment's settings by suite, of each suite that is evaluated, and by task where one
    differs; see `settings_of`."""

    seed: int
    """Seed of the evaluation, from which each episode's seed is derived."""

    split: Split
    """Whose goals are drawn."""

    prompts: str
    """A kind of prompt, or the instruction itself."""

    device: str
    """Where the agent runs, a name of torch's."""

    precision: Precision = "fp32"
    """Number format in which the agent computes."""

    prompt_task: str | None = None
    """The task that the agent's prompts are of; None: the environment's own."""

    until_success: bool = False
    """Whether an episode ends with its first solved step."""

    planner: PlannerConfig | None = None
    """What a dynamics model acts with."""

    control_delay: int = 0
    """Steps from an observation to the first action that was decided from it."""

    shown: Mapping[str, EnvConfig] = field(default_factory=dict)
    """The settings, likewise, of the environments in which prompts are made, where an episode is
    cut shorter than an expert needs; empty: those of `environments`."""

    def environment(self, task: str) -> EnvConfig:
        """The settings of the environment of a task."""
        return settings_of(self.environments, task)


@dataclass(frozen=True)
class EvaluationJob:
    """One episode of a task."""

    task: str
    """The task's full name, "suite/task"."""

    index: int
    """The episode's number within the task."""

    video: Path | None = None
    """Folder for its video and for what its visual tokens look at; None: it is not filmed."""


def episode_seed(seed: int, task: str, index: int) -> int:
    """The environment's seed of an episode.

    Args:
        seed: the evaluation's.
        task: the task's name, "suite/task".
        index: the episode's number within the task.
    """
    return derive_seed("evaluate", seed, task, index)


def run_episode(config: EvaluationConfig, job: EvaluationJob) -> EpisodeRecord:
    """Run one episode to its end: a pure function of its arguments, whichever process runs it.

    Args:
        config: the evaluation.
        job: which of its episodes to run.

    Raises:
        UserError: the environment is of an embodiment that the agent did not learn.
    """
    env = environment(job.task, config.environment(job.task), config.split)
    seed = episode_seed(config.seed, job.task, job.index)
    agent = _agent_for(config, env, seed)
    prompt = _prompt(config, job, agent, env, seed)
    return play(
        env,
        agent,
        prompt,
        index=job.index,
        seed=seed,
        until_success=config.until_success,
        control_delay=config.control_delay,
        video=job.video,
    )


def portable_episodes(config: EvaluationConfig) -> PortableJobs[EvaluationJob, EpisodeRecord]:
    """Return the episodes of an evaluation as jobs for other machines.

    Args:
        config: the evaluation, of a checkpoint or a reference.
    """
    agent = config.agent
    assert not isinstance(agent, Remote), agent
    shared = to_jsonable(replace(config, agent="random")) | {
        "agent": agent if agent in REFERENCES else None,
        "checkpoint": None if agent in REFERENCES else str(Path(agent).resolve()),
    }
    return PortableJobs(
        function=f"{__name__}:run_portable_episode",
        shared=shared,
        write=lambda job: {
            "task": job.task,
            "index": job.index,
            "video": None if job.video is None else str(job.video.resolve()),
        },
        read=EpisodeRecord.from_dict,
        on_gpu=config.device.startswith("cuda"),
    )


def run_portable_episode(shared: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Do as `run_episode` with JSON values.

    Args:
        shared: what `portable_episodes` says of the evaluation.
        values: the episode's task, index and folder for its video.
    """
    kinds = get_type_hints(EvaluationConfig)
    fields = {
        name: from_jsonable(kinds[name], value, name)
        for name, value in shared.items()
        if name not in ("type", "agent", "checkpoint")
    }
    agent = shared["agent"] or Path(shared["checkpoint"])
    video = None if values["video"] is None else Path(values["video"])
    job = EvaluationJob(values["task"], values["index"], video)
    return run_episode(EvaluationConfig(agent=agent, **fields), job).to_dict()


def play(
    env: Environment,
    agent: Agent,
    prompt: Prompt | None,
    *,
    index: int,
    seed: int,
    until_success: bool,
    control_delay: int = 0,
    max_steps: int | None = None,
    video: Path | None = None,
) -> EpisodeRecord:
    """Run one episode and film it if asked.

    Args:
        env: the environment of the episode's task.
        agent: who acts.
        prompt: what the agent is asked for.
        index: the episode's number within the task.
        seed: the environment's.
        until_success: end the episode with its first solved step.
        control_delay: steps from an observation to the first action that was decided from it.
        max_steps: None for the environment's own horizon.
        video: folder for its video; None: it is not filmed.
    """
    camera = None if video is None else _Camera(env)
    result = rollout(
        env,
        DelayedAgent(agent, control_delay) if control_delay else agent,
        seed=seed,
        prompt=prompt,
        explore=False,
        max_steps=max_steps,
        on_step=camera,
        steps_after_success=0 if until_success else None,
    )
    if video is not None and camera is not None:
        path = video / video_name(result)
        learned = unviewed(agent)
        if isinstance(learned, PolicyAgent):
            seen = camera.seen
            if isinstance(agent, ViewedAgent):
                seen = [(step, agent.seen(observation)) for step, observation in seen]
            Attention.of(learned, seen).save(path.with_suffix(".npz"))
        write_video(path, camera.frames, fps=camera.frames_per_second)
    return EpisodeRecord(
        task=env.task,
        index=index,
        seed=seed,
        prompt=None if prompt is None else prompt.instruction,
        success_any=result.success_any,
        success_last=result.success_last,
        return_=result.return_,
        length=result.length,
        metrics=result.metrics,
    )


def video_name(episode: EpisodeResult | EpisodeRecord) -> str:
    """<task with / as _>/<success|failure|unknown>-<seed>.mp4; its `Attention` has the same name in
    .npz."""
    outcome = outcome_of(episode.success_any)
    return f"{episode.task.replace('/', '_')}/{outcome}-{episode.seed}.mp4"


class _Camera:
    """Films an episode in real time, at about 20 frames per second, until one second after it is
    solved.

    Attributes:
        frames: images for people, uint8 (256, 256, 3) each.
        seen: what the agent saw until the episode was solved, with its step.
        frames_per_second: the video's rate.
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


def _agent_for(config: EvaluationConfig, env: Environment, seed: int) -> Agent:
    """The agent of an evaluation, for this environment and the episode of this seed."""
    if config.agent == "expert":
        return ExpertAgent(env)
    if config.agent == "random":
        return RandomAgent(env.embodiment_spec, seed=derive_seed("act", seed))
    if isinstance(config.agent, Remote):
        spec = json.dumps(env.embodiment_spec.to_dict())
        return _remote_agent(config.agent, spec).with_seed(derive_seed("act", seed))
    return agent_for(
        Path(config.agent),
        env,
        seed,
        device=config.device,
        precision=config.precision,
        planner=config.planner,
    )


@lru_cache(maxsize=8)
def _remote_agent(remote: Remote, spec: str) -> RemoteAgent:
    """The agent of a server for a robot, over one connection for all of its episodes. spec: the
    robot's as JSON."""
    return RemoteAgent(remote, Spec.from_dict(json.loads(spec)))


def _prompt(
    config: EvaluationConfig, job: EvaluationJob, agent: Agent, env: Environment, seed: int
) -> Prompt | None:
    """The episode's prompt; None for an agent that takes none."""
    learned = unviewed(agent)
    if not learned.prompted:
        return None
    # A server does not say which windows its agent learned from.
    window = learned.window if isinstance(learned, Windowed) else WindowConfig()
    task = config.prompt_task or job.task
    # A task of a suite that is not evaluated is shown as the environment's own suite is.
    shown = config.shown or config.environments
    made_in = settings_of(shown, task if suite_of(task) in config.environments else job.task)
    return episode_prompt(
        config.prompts,
        task,
        job.index,
        seed,
        env,
        made_in,
        window,
        seen_as=seen_as(agent),
    )
