"""Our Meta-World against Meta-World's own, step by step."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from manyparts.envs import registry
from manyparts.envs.base import EnvConfig

SOME = ["reach", "basketball"]
ALL = [task.split("/")[1] for task in registry.expand(["metaworld/mt50"])]


def original(name: str, goal_vector: np.ndarray) -> Any:
    """Meta-World's own environment, with its goal set the way its benchmarks do."""
    import metaworld
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    kind = ALL_V3_ENVIRONMENTS[f"{name}-v3"]
    values = {"rand_vec": goal_vector, "env_cls": kind, "partially_observable": False}
    env = kind()
    env.set_task(metaworld.Task(env_name=f"{name}-v3", data=pickle.dumps(values)))
    return env


def compare(name: str, steps: int) -> None:
    env = registry.make(f"metaworld/{name}", EnvConfig(state="full"))
    generator = np.random.default_rng(0)
    for seed in (5, 2):  # the second follows another episode in the same simulator
        env.begin(seed)
        simulator = original(name, env._vector)
        observation, _ = simulator.reset()
        assert np.array_equal(observation, env._observation), "reset"
        for step in range(steps):
            noisy = env.expert_action() + 0.3 * generator.standard_normal(4)
            action = np.clip(noisy, -1, 1).astype(np.float32)
            observation, reward, _, _, info = simulator.step(action)
            our_reward, _, _, our_info = env.advance(action)
            assert np.array_equal(observation, env._observation), f"observation after step {step}"
            assert np.array_equal(observation.astype(np.float32), env._state())
            assert reward == our_reward, f"reward of step {step}"
            assert bool(info["success"]) == our_info["success"], f"success of step {step}"
        simulator.close()
    env.close()


@pytest.mark.parametrize("name", SOME)
def test_episode_equals_original_metaworld(name: str) -> None:
    compare(name, steps=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_tasks_episode_equals_metaworlds_own(name: str) -> None:
    compare(name, steps=150)


def test_splits_equal_metaworlds_own() -> None:
    from metaworld import env_dict

    def names(tasks: Any) -> set[str]:
        return {"metaworld/" + task.removesuffix("-v3") for task in tasks}

    assert set(registry.expand(["metaworld/mt10"])) == names(env_dict.MT10_V3)
    assert set(registry.expand(["metaworld/mt50"])) == names(env_dict.MT50_V3)
    for split in ("train", "test"):
        assert set(registry.expand([f"metaworld/ml10-{split}"])) == names(env_dict.ML10_V3[split])
        assert set(registry.expand([f"metaworld/ml45-{split}"])) == names(env_dict.ML45_V3[split])


def test_actions_move_hand_and_gripper() -> None:
    env = registry.make("metaworld/reach")
    assert env.embodiment_spec.action.gripper == "positive closes"
    assert env.embodiment_spec.action.control_rate_hz == 1 / env._simulator.dt
    for axis in range(3):
        env.begin(0)
        start = env.observe()["state"]
        action = np.zeros(4, np.float32)
        action[axis] = 1
        for _ in range(10):
            env.advance(action)
        moved = env.observe()["state"][:3] - start[:3]
        assert moved[axis] == np.abs(moved).max() > 0.03
    openings = []
    for effort in (1, -1):
        for _ in range(40):
            env.advance(np.array([0, 0, 0, effort], np.float32))
        openings.append(env.observe()["state"][3])
    assert openings[0] < 0.6 < openings[1]
    env.close()


@pytest.mark.slow
def test_the_scripted_experts_solve_nearly_all() -> None:
    solved = {}
    for task in registry.expand(["metaworld/mt50"]):
        env = registry.make(task)
        for seed in range(3):
            env.begin(seed)
            solved[task, seed] = any(
                env.advance(env.expert_action())[3]["success"] for _ in range(500)
            )
        env.close()
    assert np.mean(list(solved.values())) > 0.93, [
        key for key, success in solved.items() if not success
    ]
