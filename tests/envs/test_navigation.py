"""Navigation: pictures from poses, the expert in every world, SPL, and pairs of start and goal by
split."""

from __future__ import annotations

import math
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.envs import registry
from manyparts.envs.base import SPLITS_OF_GOALS, EnvConfig
from manyparts.envs.suites.navigation_env import (
    FORWARD,
    MIN_PATH_METRES,
    STEP_METRES,
    STOP,
    SUCCESS_METRES,
    TURN_LEFT,
    TURN_RIGHT,
    Navigation,
    split_of_position,
    success_weighted_path_length,
)

pytestmark = pytest.mark.skipif(find_spec("miniworld") is None, reason="miniworld is not installed")

WORLDS = registry.expand(["navigation/all"])
SMALL = EnvConfig(image_size=16)


def make(task: str = "navigation/hallway", config: EnvConfig = SMALL, **arguments) -> Navigation:
    env = registry.make(task, config, **arguments)
    assert isinstance(env, Navigation)
    return env


def do(env: Navigation, *choices: int) -> dict:
    return [env.advance(np.array([choice], np.float32))[3] for choice in choices][-1]


def success_of_expert(task: str, episodes: int) -> float:
    env = make(task)
    solved = []
    for seed in range(episodes):
        env.begin(seed)
        solved.append(
            any(do(env, int(env.expert_action()[0]))["success"] for _ in range(env.max_steps))
        )
        assert env.metrics()["spl"] > 0.9 * solved[-1]
    return float(np.mean(solved))


@pytest.mark.parametrize("task", [task for task in WORLDS if task != "navigation/maze"])
def test_the_expert_goes_the_shortest_way(task: str) -> None:
    assert success_of_expert(task, episodes=2) == 1


@pytest.mark.slow
@pytest.mark.parametrize("task", WORLDS)
def test_the_expert_succeeds_nearly_always(task: str) -> None:
    assert success_of_expert(task, episodes=20) >= 0.95


def test_expert_stops_at_goal_image() -> None:
    env = make("navigation/one-room")
    env.begin(3)
    for _ in range(120):
        do(env, int(env.expert_action()[0]))
    assert env.expert_action()[0] == STOP
    assert np.linalg.norm(env.position - env.goal) <= 0.5
    assert math.cos(env.heading - env.goal_heading) >= math.cos(math.radians(7.6))


def test_held_out_worlds_are_not_trained() -> None:
    train, held_out = (
        set(registry.expand([f"navigation/{name}-worlds"])) for name in ("train", "held-out")
    )
    assert train and held_out and not train & held_out
    assert train | held_out == set(WORLDS)


@pytest.mark.parametrize("task", ["navigation/hallway", "navigation/y-maze", "navigation/maze-s3"])
def test_evaluation_goals_avoid_training_goals(task: str) -> None:
    goals = {}
    for split in SPLITS_OF_GOALS:
        env, goals[split] = make(task, split=split), []
        for seed in range(15):
            env.begin(seed)
            assert split_of_position(env.goal) == split
            assert env.scene.route(env.goal).distance(env.position) >= MIN_PATH_METRES
            goals[split].append(env.goal)
    apart = np.array(goals["evaluation"])[:, None] - np.array(goals["train"])
    assert np.linalg.norm(apart, axis=-1).min() > SUCCESS_METRES


def test_positions_are_split_in_stripes() -> None:
    positions = np.stack(
        np.meshgrid(np.arange(-15, 15, 0.2), np.arange(-15, 15, 0.2)), axis=-1
    ).reshape(-1, 2)
    owners = np.array([split_of_position(position) for position in positions])
    fractions = [np.mean(owners == split) for split in SPLITS_OF_GOALS]
    np.testing.assert_allclose(fractions, [0.6, 0.2, 0.2], atol=0.03)
    evaluation, train = positions[owners == "evaluation"][::7], positions[owners == "train"]
    apart = min(np.linalg.norm(train - position, axis=1).min() for position in evaluation)
    assert SUCCESS_METRES <= apart < SUCCESS_METRES + 0.3


@pytest.mark.parametrize("task", [task for task in WORLDS if task != "navigation/maze"])
def test_every_world_has_goals_per_split(task: str) -> None:
    scene, generator = make(task).scene, np.random.default_rng(0)
    owners = [split_of_position(scene.sample(generator)) for _ in range(150)]
    assert min(owners.count(split) for split in SPLITS_OF_GOALS) >= 9


def test_goal_image_is_seen_from_goal() -> None:
    env = make(config=EnvConfig(goal="hidden"))
    before, _ = env.reset(seed=4)
    env.position, env.heading = env.goal, env.goal_heading
    there = env.observe()["images"]
    np.testing.assert_array_equal(there["first_person"], env.goal_image())
    np.testing.assert_array_equal(there["goal"], before["images"]["goal"])
    assert (before["images"]["first_person"] != there["first_person"]).any()


def test_actions_do_what_names_say() -> None:
    env = make(config=EnvConfig(image_size=64))
    env.begin(0)
    env.position, env.heading, env.goal = np.array([2.0, 0.0]), 0.0, np.array([6.0, 0.0])

    def column_of_marker() -> float:
        image = env.observe()["images"]["first_person"].astype(int)
        return float(np.nonzero(image[..., 0] - image[..., 1] > 60)[1].mean())

    ahead = column_of_marker()
    do(env, TURN_LEFT)
    assert column_of_marker() > ahead + 5, "what is ahead moves to the right"
    do(env, TURN_RIGHT, TURN_RIGHT)
    assert column_of_marker() < ahead - 5
    do(env, TURN_LEFT, FORWARD, STOP)
    np.testing.assert_allclose(env.position, [2 + STEP_METRES, 0], atol=1e-9)


def test_walls_stop_and_markers_do_not() -> None:
    env = make()
    env.begin(0)
    env.position, env.heading, env.goal = np.array([2.0, 0.0]), 0.0, np.array([4.0, 0.0])
    assert do(env, *[FORWARD] * 8)["success"] and env.observe()["state"].tolist() == [0]
    np.testing.assert_allclose(env.position, env.goal)
    do(env, *[FORWARD] * 60)
    assert env.observe()["state"].tolist() == [1]
    assert not do(env, STOP)["success"] and env.observe()["state"].tolist() == [0]


@pytest.mark.parametrize(
    ("success", "shortest", "travelled", "expected"),
    [
        (True, 4.0, 4.0, 1.0),
        (True, 4.0, 8.0, 0.5),
        (True, 4.0, 3.0, 1.0),
        (False, 4.0, 4.0, 0.0),
        (True, 2.0, 0.0, 1.0),
    ],
)
def test_spl_is_that_of_the_paper(
    success: bool, shortest: float, travelled: float, expected: float
) -> None:
    assert success_weighted_path_length(success, shortest, travelled) == expected


def test_spl_stops_counting_at_success() -> None:
    env = make()
    env.begin(0)
    env.position, env.heading, env.goal, env._shortest = (
        np.array([3.0, 0.0]),
        math.pi,
        np.array([7.9, 0.0]),
        4.9,
    )
    two_metres_away, back_to_one_metre_before = 8, 24
    do(
        env,
        *[FORWARD] * two_metres_away,
        *[TURN_LEFT] * 12,
        *[FORWARD] * (back_to_one_metre_before - 1),
    )
    assert env.metrics() == {"spl": 0.0}
    assert do(env, FORWARD)["success"]
    assert env.metrics() == {"spl": pytest.approx(4.9 / 8.0)}
    do(env, *[FORWARD] * 4)
    assert env.metrics() == {"spl": pytest.approx(4.9 / 8.0)}


def test_images_ignore_other_renderers() -> None:
    pytest.importorskip("metaworld")
    alone, other = make("navigation/maze-s3"), registry.make("metaworld/reach", SMALL)
    first, others = alone.reset(seed=1)[0]["images"], other.reset(seed=1)[0]["images"]
    between = make("navigation/hallway")
    between.reset(seed=2)
    np.testing.assert_array_equal(
        alone.reset(seed=1)[0]["images"]["first_person"], first["first_person"]
    )
    for name, image in other.reset(seed=1)[0]["images"].items():
        np.testing.assert_array_equal(image, others[name])
    other.close()


def test_unknown_camera_lists_the_choices() -> None:
    with pytest.raises(UserError, match="'top' of navigation; choices: first_person, goal"):
        make(config=EnvConfig(cameras=("top",)))


def test_without_miniworld_the_extra_is_named() -> None:
    code = """
import importlib.util
usual = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name == "miniworld" else usual(name, package)
importlib.util.find_spec = find_spec
from manyparts.envs import registry
from manyparts.core.errors import UserError
assert registry.instructions("navigation/hallway")
try:
    registry.make("navigation/hallway")
except UserError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    wanted = "navigation needs miniworld: pip install miniworld==2.1.0 (the extra navigation)"
    assert result.stdout.strip() == wanted, result.stderr
