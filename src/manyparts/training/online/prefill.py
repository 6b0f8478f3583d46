"""What a replay holds before anything is learned: random episodes, an agent's, or a dataset's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from manyparts.agents.base import Agent
from manyparts.agents.for_environment import seeded
from manyparts.agents.loading import load
from manyparts.agents.noted import NotedAgent, Reader, noted
from manyparts.agents.random import RandomAgent
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of, say
from manyparts.core.spec import SHOWN_DIFFERENCES, Spec
from manyparts.data.dataset import EpisodeDataset
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.models.run_files import CHECKPOINTS, WEIGHTS, shipped
from manyparts.rollout.collector import Collector

RANDOM = "random"


def is_dataset(source: str) -> bool:
    """Whether a prefill is copied, and not acted."""
    return source != RANDOM and not _is_run(source)


def prefill(
    collector: Collector,
    source: str,
    environment_steps: int,
    *,
    watched: tuple[TaughtWorld, Reader] | None = None,
) -> None:
    """Fill a replay with whole episodes.

    Args:
        collector: Acts, and fills the replay.
        source: "random", a run with an agent that explores, or a dataset that is copied.
        environment_steps: Steps to act for, at least one episode; of a dataset all goes in, and no
            step is taken.
        watched: A model with teachers who watch, and what reads observations for it; None: nobody
            watches.

    Raises:
        UserError: The agent or the dataset is of another embodiment, or the dataset has no rewards.
    """
    if is_dataset(source):
        _copy(EpisodeDataset.open(source), collector, watched)
        return
    agent_of = _agent_of(source, collector.replay.spec)

    def watched_agent_of(seed: int) -> Agent:
        agent = agent_of(seed)
        return agent if watched is None else NotedAgent(agent, *watched)

    collector.whole_episodes(max(1, environment_steps), watched_agent_of)


def _agent_of(source: str, spec: Spec) -> Callable[[int], Agent]:
    """From an episode's seed to the agent that acts in it."""
    if source == RANDOM:
        return lambda seed: RandomAgent(spec, seed=seed)
    agent = load(source)
    _require_same(agent.spec, spec, f"the agent of {source} acts for")
    return lambda seed: seeded(agent, seed, explores=True)


def _copy(
    dataset: EpisodeDataset, collector: Collector, watched: tuple[TaughtWorld, Reader] | None
) -> None:
    """Add every episode of a dataset. Those of other tasks have other rewards, and are left out."""
    replay, task = collector.replay, collector.environments[0].task
    _require_same(dataset.bounded_as(replay.spec).spec, replay.spec, f"{dataset.location} is of")
    if not dataset.has_rewards:
        raise UserError(f"{dataset.location} has no rewards, which a world model is to predict")
    # Of data that no suite of the library made, nobody knows whether it is the same task.
    same = [not dataset.environment or each.environment == task for each in dataset.tasks]
    chosen = np.flatnonzero(np.array(same)[dataset.episode_task]).tolist()
    others = [each.name for each, is_same in zip(dataset.tasks, same, strict=True) if not is_same]
    if not chosen:
        raise UserError(
            f"{dataset.location} has episodes of {', '.join(others)}, and their rewards are not "
            f"those of {task}; name it with --sources, or prefill with episodes of {task}"
        )
    for index in chosen:
        episode = dataset.episode(index)
        replay.add(episode, recorded=None if watched is None else noted(episode, *watched))
    kept = len(replay.episodes)
    notes = f"prefilled with {counted(len(chosen), 'episode')} of {dataset.location}"
    if kept < len(chosen):
        notes += f", of which the last {kept} fit into online.replay_frames"
    if others:
        left_out = counted(dataset.num_episodes - len(chosen), "episode")
        notes += f"; left out: {left_out} of {', '.join(others)}"
    say(notes, error=True)


def _require_same(own: Spec, spec: Spec, subject: str) -> None:
    """Raise UserError naming what two embodiments differ in."""
    if different := own.differences(spec):
        shown = first_of(different, SHOWN_DIFFERENCES, separator="; ")
        raise UserError(f"{subject} another embodiment than the environment's: {shown}")


def _is_run(source: str) -> bool:
    path = Path(source)
    return shipped(path) is not None or any(
        (path / name).exists() for name in (CHECKPOINTS, WEIGHTS)
    )
