"""A declared Gymnasium environment as one of this library's: what it shows, how it ends, what it
refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from envs import gym_worlds

from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.gym.environment import GymEnvironment
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import GymTask


def towards_goal(env: Any) -> Any:
    """The expert: straight to the goal."""

    def act(observation: Any, info: Any, last: np.ndarray | None) -> np.ndarray:
        return observation["desired_goal"] - observation["position"]

    return act


DOT = GymTask(
    id="Dot-v0",
    package=gym_worlds.__name__,
    instruction="move the dot to the red line",
    paraphrases=("bring the dot to the line", "go to the line", "go to the red line"),
    held_out=("reach the line", "meet the red line"),
    cameras={"top": "pixels/top", "people": "render"},
    state=("position",),
    goal="desired_goal",
    success="info:is_success",
    action=ActionContract("delta_position", "world", ("x",), (-0.2,), (0.2,), 10.0),
    expert=towards_goal,
    embodiment="dot",
)


def opened(task: GymTask = DOT, config: EnvConfig | None = None, **changes: Any) -> GymEnvironment:
    shown = EnvConfig(image_size=16) if config is None else config
    return GymEnvironment("dots/dot", replace(task, **changes), shown, "train")


@pytest.fixture(scope="module")
def suite() -> Iterator[str]:
    tasks = {
        "dot": DOT,
        "choices": replace(
            DOT,
            id="Choices-v0",
            success="reward>0",
            expert=None,
            action=ActionContract.discrete(
                ("left", "stay", "right"), frame="world", control_rate_hz=10.0
            ),
        ),
    }
    registry.register_suite("dots", gym_suite("dots", tasks, renderer=lambda: "numpy"))
    yield "dots"
    del registry._registered["dots"]
    registry.suite_names.cache_clear()


def test_declared_task_is_an_environment(suite: str) -> None:
    env = registry.make("dots/dot", EnvConfig(image_size=16))
    observation, _ = env.reset(seed=3)
    assert isinstance(env, Environment) and env.task == "dots/dot"
    assert env.observation_space.contains(observation)
    assert env.embodiment_spec.state_names == ("position", "desired_goal")
    assert env.embodiment_spec.cameras == {"top": (16, 16), "people": (16, 16)}
    assert env.embodiment_spec.action.names == ("x",) and env.max_steps == 20
    assert env.render().shape == (256, 256, 3)
    assert registry.listed("dots")["dots/dot"] == "move the dot to the red line"
    env.close()


def test_expert_of_a_declared_task_succeeds(suite: str) -> None:
    env = registry.make("dots/dot")
    for seed in range(4):
        env.begin(seed)
        infos = [env.advance(env.expert_action())[3] for _ in range(15)]
        assert infos[-1]["success"] is True
        assert np.array_equal(env.expert_action(), env.expert_action()), "asked twice, one answer"


def test_seed_gives_the_episode_again_and_splits_differ() -> None:
    starts = {}
    for split in ("train", "validation", "evaluation"):
        env = GymEnvironment("dots/dot", DOT, EnvConfig(), split)
        for seed in (0, 1, 0):
            env.begin(seed)
            start = tuple(env.observe()["state"])
            assert starts.setdefault((split, seed), start) == start
    assert len(set(starts.values())) == 6


def test_seeds_of_splits_are_disjoint() -> None:
    seeds = {
        split: {DOT.seed_of(split, seed) for seed in (0, 7, 2**31 - 1)} for split in DOT.splits
    }
    assert not seeds["train"] & seeds["evaluation"] and not seeds["train"] & seeds["validation"]
    narrow = replace(DOT, splits={"train": range(10), "evaluation": range(10, 12)})
    assert {narrow.seed_of("evaluation", seed) for seed in range(9)} == {10, 11}
    with pytest.raises(UserError, match="has no split 'validation'; choices: train, evaluation"):
        narrow.seed_of("validation", 0)


def test_generator_of_numpy_stays_the_callers() -> None:
    np.random.seed(5)  # noqa: NPY002
    usual = np.random.get_state()[1].tolist()  # noqa: NPY002
    one, other = (opened(id="Global-v0", seeding="numpy") for _ in range(2))

    def episode(env: GymEnvironment, between: GymEnvironment | None = None) -> list[float]:
        env.begin(4)
        states = []
        for _ in range(5):
            env.advance(np.zeros(1))
            states.append(float(env.observe()["state"][0]))
            if between is not None:
                between.begin(9)
        return states

    assert episode(one) == episode(one, between=other), "another one's draws do not disturb it"
    assert np.random.get_state()[1].tolist() == usual  # noqa: NPY002


def test_choice_becomes_the_environments_number(suite: str) -> None:
    env = registry.make("dots/choices")
    env.begin(1)
    states = []
    for choice in (0.0, 1.0, 1.6):
        env.advance(np.array([choice]))
        states.append(float(env.observe()["state"][0]))
    assert states[1] == states[0] and states[2] == pytest.approx(states[0] + 0.15, abs=1e-5)


def test_environment_ends_where_it_says(suite: str) -> None:
    env = registry.make("dots/choices")
    env.begin(2)
    for _ in range(20):
        position, goal = env.observe()["state"]
        choice = 2 if goal > position else 0
        reward, terminated, truncated, info = env.advance(np.array([float(choice)]))
        if terminated:
            break
    assert reward == 1.0 and terminated and not truncated and info["success"] is True
    longer = opened(config=EnvConfig(max_steps=500))
    longer.begin(0)
    cut = [longer.advance(np.zeros(1))[2] for _ in range(20)]
    assert cut == [False] * 19 + [True], "the id's own limit of 20 steps holds"


def test_hidden_goal_is_zero_in_states_alone() -> None:
    config = EnvConfig(goal="hidden", cameras=("none",))
    env = opened(config=config)
    env.begin(3)
    position, goal = env.observe()["state"]
    assert goal == 0 and position != 0
    with pytest.raises(UserError, match="cannot be hidden from its images"):
        opened(config=EnvConfig(goal="hidden"))
    with pytest.raises(UserError, match="the goal of dots/dot cannot be hidden"):
        opened(config=config, goal=None)


def test_goal_that_is_an_image_is_shown_in_prompts() -> None:
    env = opened(goal="pixels/top", cameras={"people": "render"})
    env.begin(0)
    goal = env.goal_image()
    assert goal is not None and goal.shape == (16, 16, 3)
    assert env.embodiment_spec.state_names == ("position",)


def test_full_state_has_further_numbers() -> None:
    env = opened(
        full_state=("desired_goal",), goal=None, config=EnvConfig(state="full", cameras=("none",))
    )
    env.begin(0)
    assert env.embodiment_spec.state_names == ("position", "desired_goal")
    assert env.observe()["state"].shape == (2,)


def test_each_episode_brings_its_instruction() -> None:
    for said in ("obs:mission", lambda observation, info: observation["mission"]):
        env = opened(instruction=said)
        words = set()
        for seed in range(8):
            env.begin(seed)
            goal = env.observe()["state"][1]
            assert env.episode_instruction() == ("go left" if goal < 0 else "go right")
            words.add(env.episode_instruction())
        assert len(words) == 2
    assert opened().episode_instruction() is None


@pytest.mark.parametrize(
    ("success", "solved"),
    [
        ("info:is_success", True),
        ("reward>-0.1", True),
        ("reward >= 0.5", False),
        (lambda observation, reward, info: abs(reward) < 0.1, True),
    ],
)
def test_success_is_a_key_a_bound_or_a_function(success: Any, solved: bool) -> None:
    env = opened(success=success)
    env.begin(0)
    infos = [env.advance(env.expert_action())[3] for _ in range(15)]
    assert infos[-1]["success"] is solved


def test_unknown_success_is_none() -> None:
    env = opened(success=None)
    env.begin(0)
    assert env.advance(np.zeros(1))[3] == {"success": None} and not env.knows_success


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "Floats-v0"}, "camera top is float32 of shape .*; expected an image, uint8"),
        ({"id": "Doot-v0"}, "no environment is called 'Doot-v0'; did you mean Dot-v0"),
        ({"package": "gym_wurlds"}, "needs the module gym_wurlds, which is not installed"),
        ({"kwargs": {"colour": 1}}, r"Dot-v0 cannot be made \(TypeError"),
        ({"state": ("velocity",)}, "the observation has no 'velocity'; .*choices: .*position"),
        ({"cameras": {"top": "pixels/side"}}, "the observation has no 'pixels/side'"),
        ({"cameras": {"top": "mujoco:top"}}, "there is no MuJoCo model beneath it"),
        ({"goal": "info:goal"}, "info has no 'goal'; it is empty"),
        ({"instruction": "info:mission"}, "info has no 'mission'"),
        ({"id": "Binary-v0", "action": None}, r"actions are MultiBinary\(3\); expected a Box"),
        ({"id": "Binary-v0"}, "which the declared action contract does not fit"),
        ({"id": "Choices-v0"}, "has 0 choices; its action space 3"),
        ({"id": "Endless-v0"}, "nothing says how long its episodes are; declare max_steps"),
    ],
)
def test_false_declaration_is_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        opened(**changes)
    assert "\n" not in str(error.value) and str(error.value).startswith("dots/dot")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": ""}, "id of a GymTask is ''; expected a text"),
        ({"instruction": ""}, "instruction of a GymTask is ''"),
        ({"state": 3}, "Dot-v0: state is 3; expected names"),
        ({"seeding": "random"}, "seeding is 'random'; choices: reset, numpy, none"),
        ({"max_steps": 0}, "max_steps is 0; expected at least 1"),
        ({"rate_hz": -1.0}, "rate_hz is -1.0; expected more than 0"),
        ({"success": "reward=1"}, "success is 'reward=1'; expected such as 'reward>0'"),
        ({"splits": {"test": range(5)}}, "unknown split 'test'"),
        ({"splits": {"train": range(0)}}, r"split train is range\(0, 0\)"),
        (
            {"splits": {"train": range(9), "evaluation": range(8, 12)}},
            "splits train and evaluation have seeds in common",
        ),
    ],
)
def test_impossible_declaration_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        replace(DOT, **changes)


def test_key_that_vanishes_is_named_with_its_step() -> None:
    env = opened(success="info:solved")
    env.begin(5)
    with pytest.raises(
        UserError, match=r"dots/dot failed at step 0 of seed 5: info has no 'solved'; .*is_success"
    ):
        env.advance(np.zeros(1))


def test_raising_environment_is_one_line() -> None:
    env = opened(id="Raising-v0")
    with pytest.raises(
        UserError, match=r"^dots/dot failed at step 8 of seed \d+: RuntimeError: the solver$"
    ):
        for seed in range(9):
            env.begin(seed)
            for _ in range(20):
                env.advance(np.zeros(1))


def test_vector_reward_names_the_task() -> None:
    env = opened(id="Vector-v0")
    env.begin(0)
    with pytest.raises(UserError, match=r"dots/dot failed .*a vector of shape \(2,\)"):
        env.advance(np.zeros(1))


def test_image_that_grows_is_refused() -> None:
    env = opened(id="Growing-v0")
    with pytest.raises(
        UserError, match=r"camera top shows \(\d+, 32, 3\), and showed \(\d+, 32, 3"
    ):
        for seed in range(9):
            env.begin(seed)
            env.observe()


def test_task_without_expert_says_what_else() -> None:
    env = opened(expert=None)
    env.begin(0)
    with pytest.raises(UserError, match="dots/dot has no expert; choices: --policy random, or --p"):
        env.expert_action()


def test_registered_name_must_be_free(suite: str) -> None:
    declared = gym_suite("dots", {"dot": DOT})
    with pytest.raises(UserError, match="there is a suite 'dots' already"):
        registry.register_suite("dots", declared)
    with pytest.raises(UserError, match="there is a suite 'metaworld' already"):
        registry.register_suite("metaworld", declared)
    with pytest.raises(UserError, match="suite is called 'my/dots'; expected letters"):
        registry.register_suite("my/dots", declared)
