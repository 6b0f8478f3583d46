"""What environments offer to people: pushes, and where states are in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.core.extras import PackageError
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.offers import Locating, Pushable
from manyparts.envs.registry import make


def made(task: str) -> Environment:
    pytest.importorskip("mujoco")
    return make(task, EnvConfig(image_size=32, state="full"))


def state_after(env: Environment, steps: int) -> np.ndarray:
    still = np.zeros(env.embodiment_spec.action.dimension, np.float32)
    for _ in range(steps):
        env.advance(still)
    return env.observe()["state"]


def test_a_pushed_disc_moves_to_where_it_is_pushed() -> None:
    env = make("pointmass/reach", EnvConfig(state="full"))
    env.begin(3)
    before = env.observe()["state"][:2]
    assert isinstance(env, Pushable) and env.push((0.5, 0.5), (0.0, 1.0)) == "the disc"
    after = state_after(env, 5)[:2]
    assert after[0] == pytest.approx(before[0]) and after[1] > before[1] + 0.1


def test_a_disc_is_drawn_where_it_is_located() -> None:
    env = make("pointmass/reach", EnvConfig(state="full"))
    env.begin(3)
    assert isinstance(env, Locating)
    across, down = env.locate(env.observe()["state"][None])[0]
    assert env.render()[int(256 * down), int(256 * across)].max() < 60  # the disc is black


@pytest.mark.slow
@pytest.mark.parametrize("task", ["metaworld/soccer", "dmc/cheetah-run"])
def test_what_a_person_points_at_is_pushed_until_the_next_step(task: str) -> None:
    try:
        env = made(task)
    except PackageError as error:
        pytest.skip(str(error))
    assert isinstance(env, Pushable)
    env.begin(1)
    usual = state_after(env, 10)
    env.begin(1)
    named = {
        env.push((x, y), (0.0, 0.0)) for x in np.linspace(0, 1, 9) for y in np.linspace(0, 1, 9)
    }
    assert "" in named and len(named) > 1  # the world does not move, bodies have names
    assert np.array_equal(state_after(env, 10), usual)
    env.begin(1)
    for x in np.linspace(0, 1, 9):
        for y in np.linspace(0, 1, 9):
            env.push((x, y), (1.0, 0.5))
    pushed = state_after(env, 10)
    assert np.abs(pushed - usual).max() > 1e-3
    env.begin(1)
    assert np.array_equal(state_after(env, 10), usual)  # nothing of it is left
    env.close()


@pytest.mark.slow
def test_a_hand_is_drawn_where_it_is_located() -> None:
    """Where the picture says that the hand is, a person points at a part of the robot."""
    try:
        env = made("metaworld/reach")
    except PackageError as error:
        pytest.skip(str(error))
    env.begin(1)
    assert isinstance(env, Locating) and isinstance(env, Pushable)
    across, down = env.locate(env.observe()["state"][None])[0]
    near = {
        env.push((across + dx, down + dy), (0.0, 0.0))
        for dx in (-0.03, 0, 0.03)
        for dy in (-0.06, -0.03, 0)
    }
    assert any("hand" in name or "pad" in name or "claw" in name.lower() for name in near), near
    env.close()
