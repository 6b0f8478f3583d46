"""Planning on the true simulator: a plan is worth what it earns, and controls are those of the
contract."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.envs.experts.mppi import Mppi
from manyparts.envs.suites.dmc import ControlSuite
from manyparts.envs.suites.walkers import Walker


@pytest.mark.parametrize(
    "task",
    [
        "dmc/cheetah-run",  # one step of the simulator in each of control
        "dmc/cartpole-swingup",
        "dmc/walker-walk",
        "walkers/train-planar-0001",
        "walkers/train-free-0001",
    ],
)
def test_plan_rewards_equal_earned_rewards(task: str) -> None:
    env = registry.make(task, EnvConfig(image_size=16, state="full"))
    env.begin(3)
    for _ in range(15):  # until it moves
        env.advance(env.expert_action())
    planner, data = planner_of(env)
    plans = np.random.default_rng(0).uniform(
        -1, 1, (2, planner._horizon, env.embodiment_spec.action.dimension)
    )
    expected = planner._step_rewards(data, plans)[1]
    earned = [env.advance(action.astype(np.float32))[0] for action in plans[1]]
    np.testing.assert_allclose(expected, earned, atol=1e-5)
    assert np.ptp(earned) > 1e-3


@pytest.mark.parametrize("task", ["dmc/cartpole-swingup", "walkers/train-planar-0001"])
def test_plans_hold_what_is_held(task: str) -> None:
    env = registry.make(task, EnvConfig(image_size=16, action_repeat=3))
    env.begin(3)
    env.advance(env.expert_action())
    planner, _ = planner_of(env)
    assert np.ptp(planner._plan[:6:3]) > 0 and len(planner._plan) > 6
    for step in (0, 3):
        # The last plan moved on by three steps, so that its parts begin where decisions do.
        np.testing.assert_array_equal(planner._plan[step], planner._plan[step + 2])


@pytest.mark.parametrize("name", ["lqr_2_1", "lqr_6_2"])
def test_motors_without_bounds_are_moved(name: str) -> None:
    env = registry.make(f"dmc/lqr-{name}", EnvConfig(image_size=16))
    env.begin(0)
    assert np.abs(env.expert_action()).max() > 0.01


def planner_of(env) -> tuple[Mppi, object]:
    if isinstance(env, Walker):
        return env._planner, env.data
    assert isinstance(env, ControlSuite) and env._planner is not None
    return env._planner, env._data
