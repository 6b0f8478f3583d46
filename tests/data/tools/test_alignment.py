"""In which row actions stand: said where the state answers to them, and not guessed from a few
demonstrations."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.data.tools.alignment import response_lag

Demonstration = tuple[np.ndarray, np.ndarray]


def demonstration(generator: np.random.Generator, *, slow: float) -> Demonstration:
    """An expert steers a hand, by what he sees, to a goal and then to another. slow: how much of
    its force stays."""
    position, speed, force, states, actions = (
        generator.normal(size=3),
        np.zeros(3),
        np.zeros(3),
        [],
        [],
    )
    for goal in np.repeat(generator.normal(size=(2, 3)), 30, axis=0):
        states.append(position)
        actions.append(np.clip(3 * (goal - position) - 5 * speed, -1, 1))
        force = slow * force + (1 - slow) * np.tanh(2 * actions[-1]) * (
            1 + 0.5 * np.sin(4 * position)
        )
        speed = 0.7 * speed + 0.03 * force
        position = position + speed
    return np.stack(states), np.stack(actions)


def demonstrations(count: int, slow: float, seed: int) -> list[Demonstration]:
    generator = np.random.default_rng(seed)
    return [demonstration(generator, slow=slow) for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_few_slow_demonstrations_give_no_lag(seed: int) -> None:
    assert response_lag(demonstrations(6, 0.8, seed)) in (None, 0, -1)


@pytest.mark.parametrize("shift", [-2, 0, 1, 2, 3])
def test_many_demonstrations_tell_where_actions_stand(shift: int) -> None:
    moved = [
        (state, np.roll(action, shift, axis=0)) for state, action in demonstrations(40, 0.0, 0)
    ]
    assert response_lag(moved) == shift - 1  # this arm answers a step late
