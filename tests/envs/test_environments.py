"""What every suite keeps to: its spec, its episodes by seed, its errors, an expert that beats
chance."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment

QUICK = (
    *("pointmass/reach", "pointmass/reach-blue", "pointmass/reach-ledge"),
    *("metaworld/drawer-close", "navigation/hallway"),
    *("dmc/reacher-easy", "walkers/train-planar-0000"),
)
FURTHER = (
    *("metaworld/reach", "navigation/maze-s3", "kitchen/light-switch", "kitchen/microwave"),
    *("dmc/reacher-hard", "walkers/test-free-0000"),
)
TASKS = [*QUICK, *(pytest.param(task, marks=pytest.mark.slow) for task in FURTHER)]
SEED_WITH_THE_MARKER_IN_SIGHT = {"navigation/hallway": 15, "navigation/maze-s3": 14}


def fingerprint(env: Environment, seed: int, steps: int = 12) -> str:
    """A hash of everything an episode shows, under actions that depend on the step only."""
    digest = hashlib.sha256()
    observation, _ = env.reset(seed=seed)
    for step in range(steps):
        for image in observation["images"].values():
            digest.update(image.tobytes())
        digest.update(observation["state"].tobytes() + env.expert_action().tobytes())
        wave = np.sin(np.arange(env.embodiment_spec.action.dimension) + step)
        observation, reward, _, _, info = env.step(env.embodiment_spec.action.denormalise(wave))
        digest.update(np.float64(reward).tobytes() + bytes([info["success"]]))
    return digest.hexdigest()


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("state", ["proprioception", "full"])
def test_observations_and_actions_are_as_declared(task: str, state: str) -> None:
    env = registry.make(task, EnvConfig(image_size=32, state=state))
    observation, _ = env.reset(seed=1)
    assert isinstance(env, gymnasium.Env)
    assert env.task == task
    assert env.observation_space.contains(observation)
    assert env.action_space.contains(env.expert_action())
    assert all(size == (32, 32) for size in env.embodiment_spec.cameras.values())
    observation, reward, terminated, truncated, info = env.step(env.expert_action())
    assert env.observation_space.contains(observation)
    assert np.isfinite(reward) and not terminated and not truncated
    assert type(info["success"]) is bool
    image = env.render()
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8 and image.std() > 5
    env.close()


def test_seed_gives_episode_after_other_episodes(task: str) -> None:
    env = registry.make(task)
    first = fingerprint(env, seed=7)
    assert fingerprint(env, seed=8) != first
    assert fingerprint(env, seed=7) == first
    np.random.seed(123)  # noqa: NPY002, the global generator must not matter
    other = registry.make(task)
    fingerprint(other, seed=9, steps=3)
    assert fingerprint(other, seed=7) == first
    assert fingerprint(env, seed=7) == first, "two environments side by side share nothing"
    env.close()
    other.close()


def test_seed_gives_episode_across_processes(task: str) -> None:
    env = registry.make(task)
    code = f"""
import sys; sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
from test_environments import fingerprint
from manyparts.envs import registry
env = registry.make({task!r})
print(fingerprint(env, seed=7))
"""
    result = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == fingerprint(env, seed=7)
    assert result.stderr == "", "the renderer was left open at exit"
    env.close()


def test_resets_vary_with_seed_and_split(task: str) -> None:
    goals = set()
    for split in ("train", "validation", "evaluation"):
        env = registry.make(task, split=split)
        for seed in range(4):
            env.begin(seed)
            goals.add(tuple(env.goal))
        env.close()
    assert len(goals) == 12


def test_expert_succeeds_and_chance_fails(task: str) -> None:
    env = registry.make(task)
    generator = np.random.default_rng(0)
    solved = {"expert": 0, "chance": 0}
    for seed in range(4):
        for who in solved:
            env.begin(seed)
            success = False
            for _ in range(150):
                chance = generator.uniform(env.action_space.low, env.action_space.high)
                _, terminated, truncated, info = env.advance(
                    env.expert_action() if who == "expert" else chance
                )
                success |= info["success"]
                if terminated or truncated or success:
                    break
            solved[who] += success
    assert solved["expert"] == 4
    assert solved["chance"] < 4
    env.close()


def test_horizon_truncates_and_success_continues(task: str) -> None:
    env = registry.make(task, EnvConfig(max_steps=60))
    env.begin(0)
    ends = [env.advance(env.expert_action())[1:] for _ in range(60)]
    assert [truncated for _, truncated, _ in ends] == [False] * 59 + [True]
    assert not any(terminated for terminated, _, _ in ends)
    env.begin(1)
    assert not env.advance(env.expert_action())[2], "begin starts the count again"
    env.close()


@pytest.mark.parametrize("wrong", ["shape", "nan", "infinite"])
def test_a_bad_action_is_refused(task: str, wrong: str) -> None:
    env = registry.make(task)
    with pytest.raises(ValueError, match="no episode has begun"):
        env.advance(env.action_space.sample())
    env.begin(0)
    action = {
        "shape": np.zeros(env.embodiment_spec.action.dimension + 1),
        "nan": np.full(env.embodiment_spec.action.dimension, np.nan),
        "infinite": np.full(env.embodiment_spec.action.dimension, np.inf),
    }[wrong]
    with pytest.raises(ValueError, match="shape" if wrong == "shape" else "finite"):
        env.advance(action)
    env.close()


def test_action_beyond_bounds_is_clipped(task: str) -> None:
    env = registry.make(task)
    env.begin(0)
    high = np.asarray(env.embodiment_spec.action.high)
    inside = [env.advance(high)[0], env.advance(-high)[0]]
    env.begin(0)
    assert [env.advance(3 * high)[0], env.advance(-9 * high)[0]] == inside
    env.close()


def test_hidden_goal_stays_out_of_observations(task: str) -> None:
    if task.startswith(("kitchen", "dmc", "walkers")):
        pytest.skip("there is no goal to hide")
    cameras = (
        ("workspace", "workspace_side") if task.startswith("metaworld") else ()
    )  # one may be in the goal's way
    shown, hidden = (
        registry.make(task, EnvConfig(goal=goal, state="full", cameras=cameras))
        for goal in ("visible", "hidden")
    )
    size = 3 if task.startswith("metaworld") else len(shown.goal)
    seed = SEED_WITH_THE_MARKER_IN_SIGHT.get(task, 3)
    a, b = shown.reset(seed=seed)[0], hidden.reset(seed=seed)[0]
    assert np.array_equal(a["state"][:-size], b["state"][:-size])
    assert a["state"][-size:].any() and not b["state"][-size:].any()
    assert np.array_equal(shown.expert_action(), hidden.expert_action()), (
        "the expert knows the goal all the same"
    )
    changed = np.stack(
        [
            np.abs(image.astype(int) - b["images"][name]).max(axis=-1) > 20
            for name, image in a["images"].items()
        ]
    )
    assert 0 < changed.sum() < changed.size / 4
    shown.close()
    hidden.close()


def test_reset_without_seed_reports_its_seed() -> None:
    env = registry.make("pointmass/reach")
    env.reset(seed=1)
    first, second = env.reset()[1]["seed"], env.reset()[1]["seed"]
    env.reset(seed=1)
    assert first != second
    assert env.reset()[1]["seed"] == first


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: registry.make("metaword/reach"), "did you mean metaworld"),
        (lambda: registry.make("metaworld/raech"), "did you mean metaworld/reach"),
        (
            lambda: registry.make("reach"),
            "unknown suite 'reach'.*did you mean metaworld/reach or pointmass/reach",
        ),
        (lambda: registry.make("metaworld/mt10"), "expand"),
        (lambda: registry.expand(["metaworld/ml45"]), "ml45-train"),
        (lambda: registry.instructions("metaworld/no-such"), "choices: "),
        (
            lambda: registry.make("walkers/none"),
            "the nearest of 146 choices: .*`manyparts list tasks walkers/` shows all",
        ),
        (lambda: registry.make("pointmass/reach", EnvConfig(cameras=("side",))), "choices: top"),
        (lambda: registry.make("metaworld/reach", EnvConfig(cameras=("corner9",))), "corner2"),
        (lambda: EnvConfig(image_size=4), "4"),
        (lambda: EnvConfig(max_steps=0), "0"),
    ],
)
def test_wrong_name_lists_near_names(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        call()
    assert "\n" not in str(error.value)


def test_wrong_choice_lists_the_choices() -> None:
    """In a process of its own: under pytest the type checker would be first to refuse."""
    code = """
from manyparts.envs import registry
from manyparts.core.errors import UserError
from manyparts.envs.base import EnvConfig
for values in ({"goal": "invisible"}, {"state": "everything"}, {"split": "test"}):
    try:
        split = values.pop("split", "train")
        registry.make("pointmass/reach", EnvConfig(**values), split=split)
    except UserError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    for line, choices in zip(
        lines, ("visible, hidden", "proprioception, full", "train, validation"), strict=True
    ):
        assert choices in line


def test_a_missing_simulator_names_the_extra() -> None:
    code = """
import importlib.machinery
class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("metaworld", "mujoco"):
            return None
        return super().find_spec(name, path, target)
import sys
usual = importlib.machinery.PathFinder
sys.meta_path[:] = [Finder if finder is usual else finder for finder in sys.meta_path]
from manyparts.envs import registry
from manyparts.core.errors import UserError
assert len(registry.expand(["metaworld/mt50"])) == 50 and registry.instructions("metaworld/reach")
try:
    registry.make("metaworld/reach")
except UserError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert install_command("metaworld") in result.stdout


def test_splits_expand_in_order_without_repeats() -> None:
    assert registry.expand(["pointmass/reach"]) == ["pointmass/reach"]
    assert len(registry.expand(["metaworld/mt10"])) == 10
    ten = registry.expand(["metaworld/window-open", "metaworld/mt10"])
    assert ten[0] == "metaworld/window-open" and len(ten) == 10
    train, test = (registry.expand([f"metaworld/ml45-{part}"]) for part in ("train", "test"))
    assert len(train) == 45 and len(test) == 5
    assert sorted(train + test) == sorted(registry.expand(["metaworld/mt50"]))


def test_versions_name_simulator_and_renderer() -> None:
    assert registry.versions("pointmass/reach")["renderer"] == "numpy"
    versions = registry.versions("metaworld")
    assert (
        versions["mujoco"]
        and versions["metaworld"]
        and versions["renderer"] in ("egl", "osmesa", "glfw")
    )
