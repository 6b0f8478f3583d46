"""Untrained agents with their environments and replays, for benchmarks of online learning."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from manyparts.agents.base import Agent
from manyparts.agents.latent import LatentAgent
from manyparts.agents.noted import shapes_of
from manyparts.agents.random import RandomAgent
from manyparts.data.sampling.replay import Replay
from manyparts.data.sampling.replayed import ReplayWindows
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.envs.base import NO_CAMERA, EnvConfig, Environment
from manyparts.envs.registry import make
from manyparts.methods import preset
from manyparts.models.dynamics.configs import (
    LatentWorldConfig,
    TaughtWorldConfig,
    TeacherConfig,
)
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.objectives.system import System
from manyparts.rollout.collector import Collector
from manyparts.training.config import TrainConfig

_FRAMES = 10**6  # of a replay: more than is written


@dataclass(frozen=True)
class Untrained:
    """A system with new weights, and what it acts in."""

    env: Environment
    """Where it acts."""

    seen: EnvConfig
    """What the environment shows."""

    config: TrainConfig
    """A preset, with what the environment gives."""

    system: System
    """Model, actor and critic."""

    codec: Codec
    """Leaves states as they are."""

    replay: Replay
    """Holds what was collected."""

    def agent(self, seed: int) -> LatentAgent:
        """Return the agent with a seed of its own."""
        return LatentAgent(self.system, self.codec, seed=seed)

    def collector(self) -> Collector:
        """Return what acts in the environment and fills the replay."""
        return Collector([self.env], self.replay, seed=0)

    def fill(self, environment_steps: int) -> None:
        """Let random actions fill the replay with whole episodes."""

        def random(seed: int) -> Agent:
            return RandomAgent(self.env.embodiment_spec, seed=seed)

        self.collector().whole_episodes(environment_steps, random)

    def windows(self) -> ReplayWindows:
        """Return the windows of the replay."""
        images = bool(self.env.embodiment_spec.cameras)
        return ReplayWindows(self.replay, self.config.window, self.codec, seed=0, images=images)


@contextlib.contextmanager
def untrained(
    name: str,
    task: str,
    *,
    image_size: int = 0,
    action_repeat: int = 1,
    teachers: int = 0,
    model: dict[str, Any] | None = None,
    behaviour: dict[str, Any] | None = None,
) -> Iterator[Untrained]:
    """Yield a system with a replay in a folder that exists while the block runs.

    Args:
        name: Of the preset.
        task: "suite/task".
        image_size: Side of images, which are then all that is seen; 0: states.
        action_repeat: Environment steps for which an action is held.
        teachers: How many there are, in one model.
        model: Fields of the model's config.
        behaviour: Fields of the config of actor and critic.
    """
    seen = EnvConfig(
        state="full",
        image_size=image_size or 64,
        cameras=() if image_size else (NO_CAMERA,),
        action_repeat=action_repeat,
    )
    env = make(task, seen, split="train")
    spec = env.embodiment_spec
    config = preset(name)
    sees = "images" if image_size else "state"
    changed: Any = replace(config.model, sees=sees, **(model or {}))  # pyright: ignore
    if teachers:
        changed = replace(changed, teachers=(_teacher(changed, env, teachers),))
    objectives = dict(config.objectives)
    objectives["actor_critic"] = replace(objectives["actor_critic"], **(behaviour or {}))
    config = replace(config, model=changed, objectives=objectives)
    torch.manual_seed(0)
    system = System.build(changed, objectives, EmbodimentSet((spec,)), config.window)
    codec = Codec(
        spec, StateNormaliser((0.0,) * spec.state_dimension, (1.0,) * spec.state_dimension)
    )
    recorded = shapes_of(system.model) if isinstance(system.model, TaughtWorld) else {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            replay = Replay(Path(folder), spec, max_frames=_FRAMES, recorded=recorded)
            yield Untrained(env, seen, config, system, codec, replay)
    finally:
        env.close()


def _teacher(student: TaughtWorldConfig, env: Environment, count: int) -> TeacherConfig:
    """One world model of several sources, of the student's sizes."""
    spec = env.embodiment_spec
    return TeacherConfig(
        world=LatentWorldConfig(
            sees=student.sees,
            latent=student.latent,
            width=student.width,
            depth=student.depth,
            sources=count,
        ),
        names=tuple(map(str, range(count))),
        cameras=dict(spec.cameras),
        state=spec.state_dimension if student.sees != "images" else 0,
        action=spec.action.dimension,
    )
