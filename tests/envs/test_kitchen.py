"""The kitchen: its simulation is FrankaKitchen-v1's, and its expert does every combination of four
subtasks."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.agents.expert import ExpertAgent, Noise
from manyparts.core.errors import UserError
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Split
from manyparts.envs.suites.kitchen import COMBINATIONS, HELD_OUT, JOINTS, START, SUBTASKS
from manyparts.rollout.loop import rollout


@pytest.fixture(scope="module")
def original():
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import KitchenEnv

    env = KitchenEnv(robot_noise_ratio=0.0, object_noise_ratio=0.0)
    yield env
    env.close()


def test_step_equals_franka_kitchen(original) -> None:
    env = registry.make("kitchen/microwave", EnvConfig(state="full"))
    env.begin(0)
    original.reset(seed=0)
    original.robot_env.set_state(env.data.qpos, env.data.qvel)
    original.robot_env._get_obs()
    generator = np.random.default_rng(0)
    for _ in range(40):
        action = generator.uniform(-1, 1, JOINTS).astype(np.float32)
        env.advance(action)
        observation, *_ = original.step(action.astype(np.float64))
        np.testing.assert_allclose(env.data.qpos, original.data.qpos, atol=1e-10)
        np.testing.assert_allclose(env._state(), observation["observation"], atol=1e-6)
    env.close()


def test_start_equals_franka_kitchen(original) -> None:
    np.testing.assert_array_equal(original.robot_env.init_qpos, START)
    env = registry.make("kitchen/kettle")
    env.begin(3)
    moved = np.abs(env.data.qpos - START)
    assert moved[:7].max() < 0.041 and moved[23:25].max() < 0.021
    assert np.delete(moved, [*range(7), 23, 24]).max() == 0


def test_done_states_equal_franka_kitchen(original) -> None:
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import (
        OBS_ELEMENT_GOALS,
        OBS_ELEMENT_INDICES,
    )

    assert {name.replace(" ", "-") for name in OBS_ELEMENT_GOALS} == set(SUBTASKS)
    for name, goal in OBS_ELEMENT_GOALS.items():
        where, own_goal = SUBTASKS[name.replace(" ", "-")]
        np.testing.assert_array_equal(np.arange(30)[where], OBS_ELEMENT_INDICES[name])
        np.testing.assert_array_equal(own_goal, goal)


def succeeds(task: str, seed: int, split: Split = "train", noise: Noise | None = None) -> bool:
    env = registry.make(f"kitchen/{task}", split=split)
    agent = ExpertAgent(env, noise, seed=seed)
    return rollout(
        env, agent, seed=seed, prompt=None, explore=True, steps_after_success=0
    ).success_any


@pytest.mark.slow
@pytest.mark.parametrize("task", HELD_OUT)
def test_the_expert_does_four_subtasks(task: str) -> None:
    for seed, split in enumerate(("train", "validation", "evaluation")):
        assert succeeds(task, seed, split)
    assert succeeds(task, 5, noise=Noise(std=0.05))


@pytest.mark.slow
def test_expert_solves_every_combination() -> None:
    failed = [
        (task, seed) for task in COMBINATIONS for seed in range(8) if not succeeds(task, seed)
    ]
    assert not failed, f"{len(failed)} of {8 * len(COMBINATIONS)}: {failed}"


@pytest.mark.slow
def test_rewards_count_completed_subtasks() -> None:
    env = registry.make("kitchen/microwave+light-switch+slide-cabinet+kettle")
    env.begin(1)
    rewards, success = [], False
    while not success:
        reward, _, truncated, info = env.advance(env.expert_action())
        rewards.append(reward)
        success = info["success"]
        assert not truncated and env.metrics()["subtasks"] == sum(rewards) / 4
    assert sum(rewards) == 4


def test_asking_the_expert_twice_changes_nothing() -> None:
    once, twice = (registry.make("kitchen/light-switch") for _ in range(2))
    once.begin(0)
    twice.begin(0)
    for _ in range(20):
        twice.expert_action()
        np.testing.assert_array_equal(once.expert_action(), twice.expert_action())
        once.advance(once.expert_action())
        twice.advance(twice.expert_action())


def test_a_context_has_no_meaning_here() -> None:
    with pytest.raises(UserError, match="kitchen has no goals to fix"):
        registry.make("kitchen/kettle", EnvConfig(context=1))


def test_combinations_are_split_without_overlap() -> None:
    train, test = (
        set(registry.expand([f"kitchen/combinations-{part}"])) for part in ("train", "test")
    )
    assert len(train) == 32 and len(test) == 3 and not train & test
