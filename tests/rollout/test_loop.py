"""The loop: an observation, an action, its result; and no image that nobody needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rollout.collecting import SMALL, TASKS

from manyparts.agents.expert import ExpertAgent, Noise
from manyparts.agents.random import RandomAgent
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec
from manyparts.envs.base import Environment
from manyparts.envs.registry import make
from manyparts.rollout.loop import EpisodeResult, Step, rollout


class Glimpsing:
    """Moves left and right, and looks at every third step only; its carry is the number of actions
    taken."""

    prompted = True

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.seen: list[tuple[int, bool, Prompt | None, bool]] = []

    def needs_observation(self, carry: int | None) -> bool:
        return (carry or 0) % 3 == 0

    def act(
        self,
        carry: int | None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, int]:
        step = carry or 0
        self.seen.append((step, observation is not None, prompt, explore))
        return np.full(self.spec.action.dimension, (-1) ** step, np.float32), step + 1


def run(env: Environment, **changes: Any) -> tuple[EpisodeResult, list[Step]]:
    steps: list[Step] = []
    settings = {"seed": 5, "prompt": None, "explore": True, "on_step": steps.append} | changes
    agent = settings.pop("agent", None) or ExpertAgent(env, Noise(), seed=1)
    return rollout(env, agent, **settings), steps


@pytest.fixture
def env() -> Environment:
    return make(TASKS[0], SMALL)


def test_an_observation_comes_before_its_action(env: Environment) -> None:
    _, steps = run(env, observed=range(1000))
    env.begin(5)
    for step in steps:
        expected = env.observe()
        assert step.observation is not None
        np.testing.assert_array_equal(step.observation["state"], expected["state"])
        for name, image in expected["images"].items():
            np.testing.assert_array_equal(step.observation["images"][name], image)
        reward, _, _, info = env.advance(step.action)
        assert (step.reward, step.success) == (reward, info["success"])


def test_observations_share_no_memory(env: Environment) -> None:
    """An environment that handed out one buffer again and again would make all recorded frames
    equal."""
    _, steps = run(env, observed=range(1000))
    first, last = steps[0].observation, steps[-1].observation
    assert first is not None and last is not None
    assert not np.array_equal(first["state"], last["state"])
    assert any(
        not np.array_equal(first["images"][name], last["images"][name]) for name in first["images"]
    )


def test_the_outcome_sums_up_the_steps(env: Environment) -> None:
    result, steps = run(env)
    assert result.length == len(steps) == env.max_steps
    assert [step.index for step in steps] == list(range(len(steps)))
    assert result.return_ == pytest.approx(sum(step.reward for step in steps))
    successes = [step.success for step in steps]
    assert result.success_any
    assert result.first_success == successes.index(True)
    assert result.success_last == successes[-1]
    assert (result.task, result.seed) == (env.task, 5)


@pytest.mark.parametrize("after", [0, 3])
def test_episodes_stop_after_first_success(env: Environment, after: int) -> None:
    whole, _ = run(env)
    cut, steps = run(env, steps_after_success=after)
    assert cut.first_success == whole.first_success == cut.length - 1 - after
    assert [step.success for step in steps].index(True) == cut.length - 1 - after


def test_episodes_stop_at_max_steps(env: Environment) -> None:
    assert run(env, max_steps=3)[0].length == 3
    assert run(env, max_steps=10 * env.max_steps)[0].length == env.max_steps


def test_held_actions_count_as_steps() -> None:
    held = make(TASKS[0], replace(SMALL, action_repeat=3))
    result, steps = run(held)
    assert (result.length, len(steps)) == (held.horizon, held.max_steps) == (100, 34)
    first = [step.success for step in steps].index(True)
    assert result.first_success == 3 * first + 2
    cut, taken = run(held, max_steps=7)
    assert (cut.length, len(taken)) == (9, 3), "whole actions"
    _, solved = run(held, steps_after_success=2)
    assert len(solved) == first + 1 + 2


class Pushing:
    """Pushes to the right, whatever it sees."""

    prompted = False

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def needs_observation(self, carry: None) -> bool:
        return False

    def act(
        self,
        carry: None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, None]:
        return np.array([1, 0], np.float32), None


def test_rollouts_end_with_a_fall() -> None:
    env = make("pointmass/reach-ledge", SMALL)
    agent = Pushing(env.embodiment_spec)
    result, steps = run(env, agent=agent)
    assert result.terminated and result.length == len(steps) < 100
    assert steps[-1].reward == 0 and not result.success_last
    cut, _ = run(make("pointmass/reach", SMALL), agent=agent)
    assert not cut.terminated and cut.length == 100


def test_only_needed_images_are_rendered(env: Environment) -> None:
    agent, prompt = Glimpsing(env.embodiment_spec), Prompt("go there")
    _, steps = run(env, agent=agent, prompt=prompt, explore=False, max_steps=7)
    assert agent.seen == [(step, step % 3 == 0, prompt, False) for step in range(7)]
    assert [step.observation is not None for step in steps] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    assert [step.carry for step in steps] == [1, 2, 3, 4, 5, 6, 7]


def test_episodes_do_not_affect_each_other(env: Environment) -> None:
    first, _ = run(env, agent=RandomAgent(env.embodiment_spec, seed=3))
    run(env, seed=6)
    again, _ = run(env, agent=RandomAgent(env.embodiment_spec, seed=3))
    assert first == again
