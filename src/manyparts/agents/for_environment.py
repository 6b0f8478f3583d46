"""The agent of a checkpoint for an environment, and for one of its episodes."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from pathlib import Path

from manyparts.agents.base import Agent
from manyparts.agents.latent import LatentAgent
from manyparts.agents.loading import LearnedAgent, load
from manyparts.agents.planning import MpcAgent
from manyparts.agents.policy import PolicyAgent
from manyparts.agents.viewed import ViewedAgent, unviewed
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Precision
from manyparts.core.spec import Spec
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.envs.base import Environment
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.planners import PlannerConfig


def learned_embodiment(info: CheckpointInfo, env: Environment) -> str:
    """The name of an environment's embodiment, as the agent learned it.

    The environment may have more cameras than the agent, which does not look through them.

    Args:
        info: the agent's checkpoint.
        env: the environment; only its embodiment is compared.

    Raises:
        UserError: the agent did not learn it; the message says what differs.
    """
    spec = env.embodiment_spec
    for each in info.trained:
        if each.source_of(spec) is not None:
            return each.spec.embodiment
    if all(spec.bounded_as(each.spec).differences(each.spec) for each in info.trained):
        for each in info.trained:
            if _shows_enough(spec, each):
                return each.spec.embodiment
    learned = EmbodimentSet(tuple(each.spec for each in info.trained))
    seen = spec.seen_as(learned.specs[0])
    if len(learned.specs) == 1 and seen.cameras == learned.specs[0].cameras:
        spec = seen  # so that the error does not name cameras that do no harm
    index = learned.index(spec, f"{env.task} has another embodiment than the agent")
    return learned.names[index]


def _shows_enough(spec: Spec, embodiment: Embodiment) -> bool:
    """Whether an environment is an embodiment, apart from cameras that the embodiment lacks."""
    for known in (embodiment.spec, *(source.spec for source in embodiment.sources)):
        if not spec.seen_as(known).bounded_as(known).differences(known):
            return True
    return False


def seeded(agent: Agent, seed: int, *, explores: bool = False) -> Agent:
    """The agent for one episode: a planner draws its plans from a seed.

    Args:
        agent: any agent. One that draws nothing is returned as it is.
        seed: the episode's.
        explores: whether it explores, for which policies draw, too.
    """
    draws = isinstance(agent, MpcAgent | LatentAgent | ViewedAgent)
    if explores and isinstance(unviewed(agent), PolicyAgent):
        return _exploring(agent, derive_seed("act", seed))
    return agent.with_seed(derive_seed("act", seed)) if draws else agent


def _exploring(agent: Agent, seed: int) -> Agent:
    if isinstance(agent, ViewedAgent):
        return agent.around(_exploring(agent.agent, seed))
    other = copy(agent)
    assert isinstance(other, PolicyAgent)
    other.seed = seed
    return other


def agent_for(
    checkpoint: Path,
    env: Environment,
    seed: int,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    planner: PlannerConfig | None = None,
) -> LearnedAgent:
    """The agent of a checkpoint, for an environment and the episode of a seed.

    Weights are loaded once per embodiment.

    Args:
        checkpoint: the folder.
        env: the environment.
        seed: the episode's.
        device: where the agent runs, a name of torch's.
        precision: number format in which it computes.
        planner: what a dynamics model acts with.

    Raises:
        UserError: the agent did not learn the environment's embodiment, or see `load`.
    """
    embodiment = learned_embodiment(_info(checkpoint), env)
    agent = seeded(_agent(checkpoint, device, precision, embodiment, planner), seed)
    assert isinstance(agent, LearnedAgent)
    return agent


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
