"""Scenes drawn from states alone: they look as what was seen there, and the episode does not
notice."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment, StateKind

DRAWN: list[tuple[str, StateKind]] = [
    ("pointmass/reach", "full"),
    ("dmc/cartpole-swingup", "full"),
    ("dmc/reacher-easy", "full"),
    ("dmc/walker-walk", "full"),
    ("dmc/cheetah-run", "proprioception"),
    ("dmc/hopper-stand", "full"),
    ("walkers/train-planar-0003", "shared"),
    ("walkers/train-free-0001", "proprioception"),
]


def make(task: str, state: StateKind) -> Environment:
    env = registry.make(task, EnvConfig(image_size=16, state=state))
    env.begin(3)
    return env


def pushed(env: Environment, steps: int) -> None:
    for _ in range(steps):
        env.advance(env.action_space.high)


@pytest.mark.parametrize(("task", "state"), DRAWN)
def test_scene_from_state_equals_observed_scene(task: str, state: StateKind) -> None:
    """All but where along the floor a walker is, which its state does not tell."""
    env, other = make(task, state), make(task, state)
    seen = []
    for _ in range(3):
        pushed(env, 5)
        seen.append((env.observe()["state"], env.render().astype(int)))
    drawn = other.depict([values for values, _ in seen])
    assert drawn is not None
    for (_, image), scene in zip(seen, drawn, strict=True):
        unlike = [np.abs(scene - each).mean() for _, each in seen]
        assert scene.shape == (256, 256, 3)
        assert np.abs(scene - image).mean() == min(unlike) and min(unlike) < 0.7 * max(unlike)


@pytest.mark.parametrize(
    ("task", "state"), [*DRAWN, ("dmc/quadruped-walk", "full")]
)  # which feels its feet
def test_drawing_leaves_the_episode_unchanged(task: str, state: StateKind) -> None:
    env, other = make(task, state), make(task, state)
    first = env.observe()["state"]
    pushed(env, 5)
    pushed(other, 5)
    drawn = other.depict([first])
    assert drawn is not None and len(list(drawn)) == 1
    np.testing.assert_array_equal(env.observe()["state"], other.observe()["state"])
    pushed(env, 5)
    pushed(other, 5)
    np.testing.assert_allclose(env.observe()["state"], other.observe()["state"], atol=1e-9)
