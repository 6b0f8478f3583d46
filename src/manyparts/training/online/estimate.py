"""How fast a machine learns by acting, measured in a few seconds."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from manyparts.agents.latent import LatentAgent
from manyparts.agents.random import RandomAgent
from manyparts.core.records import Batch
from manyparts.data.sampling.mixture import in_set
from manyparts.data.sampling.replay import Replay
from manyparts.data.sampling.replayed import ReplayWindows
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.envs import registry
from manyparts.envs.base import NO_CAMERA, EnvConfig
from manyparts.envs.pace import rate
from manyparts.objectives.system import System
from manyparts.rollout.collector import Collector
from manyparts.training.config import TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.online.scales import scales_of
from manyparts.training.update import Learner

_TASK = "pointmass/reach"  # its simulator takes next to no time
_STATES = EnvConfig(state="full", cameras=(NO_CAMERA,))
_PREFILL = 200  # steps


@dataclass(frozen=True)
class Estimate:
    """Rates of an agent that learns by acting from states."""

    config: TrainConfig
    """What it learns with."""

    updates_per_second: float
    """Optimiser steps per second, if it does nothing else."""

    decisions_per_second: float
    """Steps that it acts and writes to its replay per second, if it does nothing else, without a
    simulator's own time."""

    def seconds(self, steps_per_second: float, episode_steps: int) -> float:
        """How long a run takes, with its evaluations.

        Args:
            steps_per_second: those of the simulator.
            episode_steps: environment steps of an episode.
        """
        online = self.config.online
        assert online is not None
        steps = online.environment_steps
        checks = steps // online.evaluate_every_steps * online.evaluation_episodes
        evaluated = (checks + online.final_episodes) * episode_steps
        replayed = self.config.batch_size * self.config.window.steps
        held = online.action_repeat or 1
        each = 1 / steps_per_second + 1 / (self.decisions_per_second * held)
        learned = online.updates(steps, replayed) / self.updates_per_second
        return learned + (steps + evaluated) * each


def estimate(config: TrainConfig, *, seconds: float = 0.7) -> Estimate:
    """Measure how fast an agent learns and acts on the point mass, from states, on the CPU.

    Args:
        config: a preset with `online` settings for states.
        seconds: how long each of the two is measured.
    """
    with closing(registry.make(_TASK, _STATES)) as env, TemporaryDirectory() as folder:
        spec = env.embodiment_spec
        replay = Replay(Path(folder), spec, max_frames=10**6)
        collector = Collector([env], replay, seed=0)
        collector.whole_episodes(_PREFILL, lambda seed: RandomAgent(spec, seed=seed))
        codec = Codec.of(spec, scales_of([episode.state for _, episode in replay.read()]))
        embodiments = EmbodimentSet((spec,))
        system = System.build(config.model, config.objectives, embodiments, config.window)
        learner = Learner(system, config, Ranks(), torch.device("cpu"))
        windows = ReplayWindows(replay, config.window, codec, seed=0, images=False)

        def drawn(step: int) -> Batch:
            return in_set(windows.batch(step, config.batch_size), embodiments, 0)

        updates = rate(lambda step: learner.step(step, {0: drawn(step)}), seconds)
        began = collector.environment_steps

        def agent_of(seed: int) -> LatentAgent:
            return LatentAgent(system, codec, seed=seed)

        decisions = rate(lambda step: collector.until(began + step + 1, agent_of), seconds)
    return Estimate(config, updates, decisions)
