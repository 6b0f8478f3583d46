"""Point mass: the instruction decides where the picture does not."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.envs import registry
from manyparts.envs.suites.pointmass import COLOURS, SUCCESS_DISTANCE


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
