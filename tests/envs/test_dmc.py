"""The control suite: its rewards in arrays are its own, its episodes are its own, and planning on
it scores."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.core.host.renderer import choose_backend
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.envs.suites.dmc import TASKS
from manyparts.envs.suites.dmc_rewards import _state_by_state, rewards_of


def test_all_suite_tasks_are_named() -> None:
    choose_backend()
    from dm_control import suite

    assert set(TASKS) == {f"{domain}-{task}" for domain, task in suite.ALL_TASKS}


@pytest.mark.parametrize(
    "name",
    [
        "cartpole-balance",
        "cartpole-swingup",
        "walker-stand",
        "walker-walk",
        "walker-run",
        "cheetah-run",
    ],
)
def test_array_rewards_equal_suite_rewards(name: str) -> None:
    env = registry.make(f"dmc/{name}", EnvConfig(state="full"))
    from_arrays, of_suite = _both(env, name)
    np.testing.assert_allclose(from_arrays, of_suite, atol=1e-6)


@pytest.mark.parametrize("name", ["reacher-easy", "pendulum-swingup", "cartpole-swingup_sparse"])
def test_shaped_rewards_rise_near_suite_rewards(name: str) -> None:
    from_arrays, of_suite = _both(registry.make(f"dmc/{name}"), name, count=4000)
    assert (
        of_suite.any()
        and from_arrays[of_suite > 0.5].mean() > from_arrays[of_suite < 0.5].mean() + 0.5
    )


def _both(env, name: str, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Our rewards and the suite's at states about one that it reaches, and within all its joints'
    turns."""
    import mujoco

    env.begin(0)
    domain, _, task = name.partition("-")
    generator = np.random.default_rng(0)
    model, data = env._model, mujoco.MjData(env._model)
    position = generator.normal(env._data.qpos, 1.5, (count, model.nq))
    velocity = generator.normal(0, 2, (count, model.nv))
    control = generator.uniform(-1, 1, (count, model.nu))
    sensors = np.zeros((count, model.nsensordata))
    for index in range(count):
        data.qpos[:], data.qvel[:], data.ctrl[:] = position[index], velocity[index], control[index]
        mujoco.mj_forward(model, data)
        sensors[index] = data.sensordata
    from_arrays = rewards_of(domain, task, env._suite.physics, env._suite.task)(
        position, velocity, sensors, control
    )
    of_suite = _state_by_state(env._suite.physics, env._suite.task)(
        position, velocity, sensors, control
    )
    return from_arrays, of_suite


def test_an_episode_is_the_suites_own() -> None:
    from dm_control import suite

    env = registry.make("dmc/walker-walk", EnvConfig(state="full"))
    env.begin(5)
    original = suite.load(
        "walker", "walk", task_kwargs={"random": np.random.RandomState(env._seed)}
    )
    first = original.reset()
    generator = np.random.default_rng(0)
    flat = np.concatenate([np.ravel(part) for part in first.observation.values()])
    np.testing.assert_allclose(env.observe()["state"], flat, atol=1e-6)
    for _ in range(20):
        action = generator.uniform(-1, 1, 6).astype(np.float32)
        reward = env.advance(action)[0]
        step = original.step(action.astype(np.float64))
        assert reward == step.reward
        flat = np.concatenate([np.ravel(part) for part in step.observation.values()])
        np.testing.assert_allclose(env.observe()["state"], flat, atol=1e-5)


@pytest.mark.parametrize("name", ["cartpole-balance", "lqr-lqr_2_1"])
def test_own_time_limit_replaces_the_suites(name: str) -> None:
    """The suite's own `step` would begin another episode, of another start, after 1000 steps or a
    task's end."""
    env = registry.make(f"dmc/{name}", EnvConfig(max_steps=1010))
    env.begin(0)
    env._data.qpos[:], env._data.qvel[:] = (
        0,
        0,
    )  # in balance, or where linear control has nothing left to do
    env._suite.physics.forward()
    for step in range(1, 1011):
        _, terminated, truncated, _ = env.advance(np.zeros(env.action_space.shape, np.float32))
        assert env._data.time == pytest.approx(step * env._suite.control_timestep())
        assert np.abs(env._data.qpos).max() < 1e-3
        assert not terminated and truncated == (step == 1010)


def episode_return(env, seed: int, steps: int, *, expert: bool) -> float:
    env.begin(seed)
    generator = np.random.default_rng(seed)
    low, high = env.action_space.low, env.action_space.high
    return sum(
        env.advance(env.expert_action() if expert else generator.uniform(low, high))[0]
        for _ in range(steps)
    )


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("cheetah-run", 150),
        pytest.param("cartpole-swingup", 250, marks=pytest.mark.slow),
        pytest.param("walker-stand", 80, marks=pytest.mark.slow),
    ],
)
def test_planning_on_simulator_beats_chance(name: str, steps: int) -> None:
    env = registry.make(f"dmc/{name}")
    planned, chance = (episode_return(env, 1, steps, expert=expert) for expert in (True, False))
    assert planned > 2 * chance


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("finger-spin", 60),
        pytest.param("point_mass-easy", 100, marks=pytest.mark.slow),
        pytest.param("ball_in_cup-catch", 70, marks=pytest.mark.slow),
    ],
)
def test_task_without_array_rewards_is_planned(name: str, steps: int) -> None:
    env = registry.make(f"dmc/{name}")
    assert (
        episode_return(env, 0, steps, expert=True) > episode_return(env, 0, steps, expert=False) + 5
    )


def test_every_task_makes_observations() -> None:
    for name in ("acrobot-swingup", "lqr-lqr_2_1", "quadruped-walk", "humanoid-stand", "fish-swim"):
        env = registry.make(f"dmc/{name}", EnvConfig(image_size=32))
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation)
        assert np.isfinite(env.step(env.action_space.sample())[1])
        env.close()


@pytest.mark.parametrize("config", [EnvConfig(goal="hidden"), EnvConfig(context=1)])
def test_hidden_or_fixed_goal_is_refused(config: EnvConfig) -> None:
    with pytest.raises(UserError, match="no goals"):
        registry.make("dmc/reacher-easy", config)
