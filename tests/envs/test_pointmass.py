"""Point mass: the instruction decides where the picture does not."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.suites.pointmass import COLOURS, LEDGE, SUCCESS_DISTANCE, TABLE


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_goal_has_the_named_colour(colour: str) -> None:
    env = registry.make(f"pointmass/reach-{colour}")
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        image = observation["images"]["top"].astype(int)
        distance = np.abs(image - COLOURS[colour]).sum(axis=-1)
        rows, columns = np.nonzero(distance < 60)
        size = len(image)
        seen = np.array([(columns.mean() + 0.5) / size * 2 - 1, 1 - (rows.mean() + 0.5) / size * 2])
        assert np.linalg.norm(seen - env.goal) < 0.05
        for other in set(COLOURS) - {colour, "grey"}:
            assert (np.abs(image - COLOURS[other]).sum(axis=-1) < 60).sum() > 5, (
                "all colours are always shown"
            )


@pytest.mark.parametrize(("side", "sign"), [("left", 1), ("right", -1)])
def test_goal_is_on_named_side(side: str, sign: int) -> None:
    env = registry.make(f"pointmass/reach-{side}")
    for seed in range(10):
        env.begin(seed)
        other = next(
            position for position, _ in env._targets if not np.array_equal(position, env.goal)
        )
        assert sign * (other[0] - env.goal[0]) > 2 * SUCCESS_DISTANCE


def test_the_disc_stays_on_the_table() -> None:
    env = registry.make("pointmass/reach")
    env.begin(0)
    for _ in range(80):
        env.advance(np.ones(2))
    assert np.array_equal(env.observe()["state"], np.ones(2, np.float32))


def test_right_force_moves_disc_right() -> None:
    env = registry.make("pointmass/reach")
    before, _ = env.reset(seed=1)
    for _ in range(8):
        env.advance(np.array([-1, 0]))
    after = env.observe()

    def column(observation) -> float:
        return np.nonzero(observation["images"]["top"].sum(axis=-1) < 120)[1].mean()

    assert after["state"][0] < before["state"][0] - 0.1
    assert after["state"][1] == before["state"][1]
    assert column(after) < column(before) - 3


def fall(env: Environment, force: np.ndarray) -> list[tuple[float, bool, bool]]:
    """Push until the episode ends. Returns reward, terminated and truncated of each step."""
    steps: list[tuple[float, bool, bool]] = []
    while not steps or not (steps[-1][1] or steps[-1][2]):
        steps.append(env.advance(force)[:3])
    return steps


@pytest.mark.parametrize("force", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, -1)])
def test_the_disc_falls_off_the_ledge(force: tuple[int, int]) -> None:
    env = registry.make("pointmass/reach-ledge", EnvConfig(state="full"))
    env.begin(0)
    steps = fall(env, np.array(force))
    assert [terminated for _, terminated, _ in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1][0] == 0 and all(reward > 0 for reward, _, _ in steps[:-1])
    assert np.abs(env.observe()["state"][:2]).max() > 1
    assert env.observation_space.contains(env.observe())


def test_a_fallen_disc_stays_down() -> None:
    env = registry.make("pointmass/reach-ledge")
    env.begin(0)
    fall(env, np.ones(2))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"the episode has terminated: call reset\(seed="):
            env.advance(np.zeros(2))
    env.begin(0)
    assert env.advance(np.zeros(2))[1:3] == (False, False)


def test_a_fall_may_end_the_horizon() -> None:
    env = registry.make("pointmass/reach-ledge")
    env.begin(0)
    length = len(fall(env, np.ones(2)))
    short = registry.make("pointmass/reach-ledge", EnvConfig(max_steps=length))
    short.begin(0)
    assert fall(short, np.ones(2))[-1][1:] == (True, True)


def test_only_the_ledge_task_terminates() -> None:
    can = [
        task
        for task in registry.expand("pointmass/all")
        if registry.make(task, EnvConfig(image_size=8)).can_terminate
    ]
    assert can == ["pointmass/reach-ledge"]


@pytest.mark.parametrize("split", ["train", "validation", "evaluation"])
def test_the_ledge_expert_never_falls(split) -> None:
    env = registry.make("pointmass/reach-ledge", EnvConfig(image_size=8), split=split)
    for seed in range(20):
        env.begin(seed)
        ends = [env.advance(env.expert_action()) for _ in range(env.max_steps)]
        assert ends[-1][3]["success"] and not any(terminated for _, terminated, _, _ in ends)


def test_the_ledge_is_seen_in_images() -> None:
    ledge, rim = (
        registry.make(f"pointmass/{name}").reset(seed=3)[0]["images"]["top"]
        for name in ("reach-ledge", "reach")
    )
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert tuple(ledge[row, column]) == LEDGE and tuple(rim[row, column]) == TABLE


def test_held_actions_are_steps_in_one() -> None:
    """Seven steps are three actions of two, and one of one."""
    single = registry.make("pointmass/reach", EnvConfig(state="full", max_steps=7))
    double = registry.make("pointmass/reach", EnvConfig(state="full", max_steps=7, action_repeat=2))
    assert double.embodiment_spec.action.control_rate_hz == 10
    assert (single.max_steps, double.max_steps) == (7, 4)
    single.begin(5)
    double.begin(5)
    action, taken, truncated = np.array([0.5, -1.0]), 0, False
    while not truncated:
        reward, _, truncated, info = double.advance(action)
        held = [single.advance(action) for _ in range(double.elapsed - taken)]
        assert reward == pytest.approx(sum(each[0] for each in held))
        assert info["success"] == any(each[3]["success"] for each in held)
        np.testing.assert_array_equal(single.observe()["state"], double.observe()["state"])
        taken = double.elapsed
    assert taken == 7
