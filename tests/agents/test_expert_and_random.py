"""Agents without a model: their noise, and their memory in the carry alone."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.agents.base import Agent
from manyparts.agents.expert import ExpertAgent, Noise
from manyparts.agents.random import RandomAgent
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.registry import make

TASK = "pointmass/reach"
SLOTS = 16


def make_env(slot: int) -> Environment:
    env = make(TASK, EnvConfig(image_size=16))
    env.begin(slot)
    return env


def make_agent(kind: str, env: Environment, slot: int) -> Agent:
    if kind == "expert":
        return ExpertAgent(env, Noise(std=0.5), seed=slot)
    return RandomAgent(env.embodiment_spec, seed=slot)


def act_alone(kind: str, slot: int, steps: int) -> np.ndarray:
    env, carry, actions = make_env(slot), None, []
    agent = make_agent(kind, env, slot)
    for _ in range(steps):
        action, carry = agent.act(carry, None, None, explore=True)
        env.advance(action)
        actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("kind", ["expert", "random"])
def test_parallel_agents_act_as_alone(kind: str) -> None:
    envs = [make_env(slot) for slot in range(SLOTS)]
    agents = [make_agent(kind, env, slot) for slot, env in enumerate(envs)]
    carries: list[object] = [None] * SLOTS
    actions: list[list[np.ndarray]] = [[] for _ in range(SLOTS)]
    for _ in range(10):
        for slot in np.random.default_rng(len(actions[0])).permutation(SLOTS):
            action, carries[slot] = agents[slot].act(carries[slot], None, None, explore=True)
            envs[slot].advance(action)
            actions[slot].append(action)
    for slot in range(SLOTS):
        np.testing.assert_array_equal(np.stack(actions[slot]), act_alone(kind, slot, 10))


@pytest.mark.parametrize("kind", ["expert", "random"])
def test_acting_does_not_change_carry(kind: str) -> None:
    env = make_env(0)
    agent = make_agent(kind, env, 0)
    _, carry = agent.act(None, None, None, explore=True)
    first, _ = agent.act(carry, None, None, explore=True)
    again, _ = agent.act(carry, None, None, explore=True)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32


def test_noise_has_configured_std_and_correlation() -> None:
    env = make_env(0)
    noise = Noise(std=0.4, correlation=0.9)
    agent, carry, drawn = ExpertAgent(env, noise, seed=1), None, []
    for _ in range(10_000):
        _, carry = agent.act(carry, None, None, explore=True)
        drawn.append(carry.noise)
    values = np.stack(drawn)
    np.testing.assert_allclose(values.std(axis=0), 0.4, rtol=0.1)
    np.testing.assert_allclose(
        (values[1:] * values[:-1]).mean(axis=0) / values.var(axis=0), 0.9, atol=0.02
    )
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.1)


def test_first_step_has_stationary_noise() -> None:
    env = make_env(0)
    first = [
        ExpertAgent(env, Noise(), seed=seed).act(None, None, None, explore=True)[1].noise
        for seed in range(4000)
    ]
    np.testing.assert_allclose(np.std(first, axis=0), 0.4, rtol=0.06)


def test_executed_action_is_clipped_noisy_action() -> None:
    env = make_env(3)
    contract = env.embodiment_spec.action
    agent, carry = ExpertAgent(env, Noise(), seed=1), None
    low, high = np.array(contract.low), np.array(contract.high)
    clipped = 0
    for _ in range(30):
        expected = env.expert_action()
        action, carry = agent.act(carry, None, None, explore=True)
        np.testing.assert_array_equal(carry.expert_action, expected)
        wanted = expected + carry.noise * (high - low) / 2
        np.testing.assert_allclose(action, np.clip(wanted, low, high), rtol=1e-6)
        clipped += int((wanted != action.astype(np.float64)).any() and (np.abs(action) == 1).any())
        env.advance(action)
    assert clipped > 0


@pytest.mark.parametrize("noise", [None, Noise()])
def test_expert_is_clean_without_exploring(noise: Noise | None) -> None:
    env = make_env(3)
    action, carry = ExpertAgent(env, noise, seed=1).act(None, None, None, explore=False)
    np.testing.assert_array_equal(action, carry.expert_action)
    np.testing.assert_array_equal(action, env.expert_action())


def test_random_actions_fill_action_contract() -> None:
    env = make_env(0)
    agent, carry, actions = RandomAgent(env.embodiment_spec, seed=2), None, []
    for _ in range(2000):
        action, carry = agent.act(carry, None, None, explore=False)
        actions.append(action)
    values = env.embodiment_spec.action.normalise(np.stack(actions))
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(values.std(axis=0), 1 / np.sqrt(3), atol=0.03)
