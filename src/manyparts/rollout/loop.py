"""The one loop in which an agent meets an environment."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manyparts.agents.base import Agent
from manyparts.core.records import Observation, Prompt
from manyparts.envs.base import Environment


@dataclass(frozen=True)
class Step:
    """What happened in one step: the observation (None if nobody asked), then the action, then what
    came of it.

    carry: the agent's memory after acting. action: float32 (a,), as executed. success: solved after
    the action.
    """

    index: int
    observation: Observation | None
    carry: Any
    action: np.ndarray
    reward: float
    success: bool


@dataclass(frozen=True)
class EpisodeResult:
    """One episode's outcome. length: steps taken; first_success: index of the first solved step,
    None if never.

    return_: the sum of rewards. success_any, success_last: solved after any step, after the last
    step. metrics: the suite's own measures at the end, by name.
    """

    task: str
    seed: int
    success_any: bool
    success_last: bool
    return_: float
    length: int
    first_success: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)


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
    """Run one episode from `env.begin(seed)` until termination, truncation, or `max_steps` (None:
    the env's own).

    prompt: a plain instruction will do. An observation is rendered only when the agent needs it,
    and at the steps `observed`. `on_step` is called after every step, before the next one begins.
    `steps_after_success` ends the episode so many steps after its first solved one; None: it runs
    to its end.
    """
    prompt = Prompt.of(prompt)
    limit = env.max_steps if max_steps is None else min(max_steps, env.max_steps)
    env.begin(seed)
    carry, return_, success, first_success, index = None, 0.0, False, None, -1
    for index in range(limit):
        observation = env.observe() if index in observed or agent.needs_observation(carry) else None
        action, carry = agent.act(carry, observation, prompt, explore=explore)
        reward, terminated, truncated, info = env.advance(action)
        return_ += float(reward)
        success = bool(info["success"])
        if success and first_success is None:
            first_success = index
        if on_step is not None:
            on_step(Step(index, observation, carry, action, float(reward), success))
        if terminated or truncated or _lasted(index, first_success, steps_after_success):
            break
    solved = first_success is not None
    return EpisodeResult(
        env.task, seed, solved, success, return_, index + 1, first_success, env.metrics()
    )


def _lasted(index: int, first_success: int | None, steps_after_success: int | None) -> bool:
    if first_success is None or steps_after_success is None:
        return False
    return index >= first_success + steps_after_success
