"""The one loop in which an agent acts in an environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manyparts.agents.base import Agent
from manyparts.core.records import Observation, Prompt
from manyparts.envs.base import Environment


@dataclass(frozen=True)
class Step:
    """One action of an episode: the observation before it, and its result."""

    index: int
    """The action's number, from 0."""
    observation: Observation | None
    """The observation before the action; None if nobody asked for it."""
    carry: Any
    """The agent's memory after acting."""
    action: np.ndarray
    """float32 (a,), as executed."""
    reward: float
    """The reward for the action."""
    success: bool | None
    """Whether the task is solved after the action; None where nobody knows."""


@dataclass(frozen=True)
class EpisodeResult:
    """One episode's outcome."""

    task: str
    """"suite/task"."""
    seed: int
    """The environment's reset seed."""
    success_any: bool | None
    """Whether the task was solved after any step; None where nobody knows."""
    success_last: bool | None
    """Whether the task was solved after the last step; None where nobody knows."""
    return_: float
    """The sum of rewards."""
    length: int
    """Steps of the environment; held actions count as often as they are held."""
    first_success: int | None
    """The number of the first step after which the task was solved, of a held action its last one;
    None if there is none."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The suite's own measures at the end, by name."""
    terminated: bool = False
    """Whether the episode ended for good, and was not only cut off."""


def rollout(
    env: Environment,
    agent: Agent,
    *,
    seed: int,
    prompt: Prompt | str | None,
    explore: bool,
    max_steps: int | None = None,
    on_step: Callable[[Step], None] | None = None,
    observed: Container[int] = (),
    steps_after_success: int | None = None,
) -> EpisodeResult:
    """Run one episode until it terminates, is truncated, or has `max_steps` steps.

    Args:
        env: The environment.
        agent: What acts in it.
        seed: The reset seed.
        prompt: The prompt, or an instruction as text; None for agents that need none.
        explore: Whether the agent samples or adds noise, rather than acts at its best.
        max_steps: The longest episode in steps of the environment, rounded up to whole actions;
            None or more than the environment's own: that.
        on_step: Called after every step, before the next one.
        observed: Actions before which the environment is observed, even if the agent does not need
            it. Rendering is slow, so the environment is not observed before others.
        steps_after_success: End the episode so many actions after the first that solved it; None:
            do not.
    """
    prompt = Prompt.of(prompt)
    limit = env.max_steps
    if max_steps is not None:
        limit = min(limit, math.ceil(max_steps / env.action_repeat))
    env.begin(seed)
    carry, return_, first_success, solved_at = None, 0.0, None, None
    success: bool | None = False
    terminated = False
    for index in range(limit):
        is_observed = index in observed or agent.needs_observation(carry)
        observation = env.observe() if is_observed else None
        action, carry = agent.act(carry, observation, prompt, explore=explore)
        reward, terminated, truncated, info = env.advance(action)
        return_ += float(reward)
        success = None if info["success"] is None else bool(info["success"])
        if success and first_success is None:
            first_success, solved_at = env.elapsed - 1, index
        if on_step is not None:
            on_step(Step(index, observation, carry, action, float(reward), success))
        if terminated or truncated or _is_long_solved(index, solved_at, steps_after_success):
            break
    return EpisodeResult(
        task=env.task,
        seed=seed,
        success_any=None if success is None else first_success is not None,
        success_last=success,
        return_=return_,
        length=env.elapsed,
        first_success=first_success,
        metrics=env.metrics(),
        terminated=terminated,
    )


def _is_long_solved(index: int, solved_at: int | None, steps_after_success: int | None) -> bool:
    if solved_at is None or steps_after_success is None:
        return False
    return index >= solved_at + steps_after_success
