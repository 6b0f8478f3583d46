"""Environments that a user made are evaluated in the same process, on the goals that workers
meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from evaluation.evaluating import CONFIG, TASKS, make_run
from factories import ANY_PROMPT

from manyparts import (
    ActionContract,
    DatasetWriter,
    EnvConfig,
    Environment,
    Episode,
    EpisodeDataset,
    Observation,
    Prompt,
    Result,
    Spec,
    TaskEntry,
    UserError,
    compare,
    evaluate,
    load,
    make,
    preset,
    rollout,
    train,
)
from manyparts.agents.expert import ExpertAgent
from manyparts.agents.random import RandomAgent
from manyparts.envs.base import Split
from manyparts.envs.goals import episode_generator
from manyparts.evaluation.own_environments import environments_by_task

SAY = "slide to the mark"
SLIDER = Spec(
    "slider",
    {"side": (32, 32)},
    ("x",),
    ActionContract("velocity", "world", ("x",), (-1.0,), (1.0,), 10.0),
)


class Slide(Environment):
    """A user's own task, in no suite of the library: move a block to a mark on a line."""

    def __init__(self, split: Split) -> None:
        super().__init__("mysuite/slide", SLIDER, split=split, max_steps=20)
        self.x = self.goal = 0.0

    def _begin(self, seed: int) -> None:
        generator = episode_generator(self.task, self.split, seed)
        self.goal, self.x = generator.uniform(-0.9, 0.9, 2)

    def observe(self) -> Observation:
        image = np.full((32, 32, 3), 240, np.uint8)
        image[:, self._column(self.goal)] = (200, 0, 0)
        image[14:, self._column(self.x)] = 0
        return {"images": {"side": image}, "state": np.array([self.x], np.float32)}

    def _column(self, x: float) -> int:
        return int((x + 1) / 2 * 31)

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        self.x = float(np.clip(self.x + 0.3 * action[0], -1, 1))
        distance = abs(self.x - self.goal)
        return -distance, distance < 0.1

    def expert_action(self) -> np.ndarray:
        return np.clip(np.array([3 * (self.goal - self.x)], np.float32), -1, 1)

    def render(self) -> np.ndarray:
        return np.kron(self.observe()["images"]["side"], np.ones((8, 8, 1), np.uint8))


class Still:
    """A user's own agent, which never moves."""

    spec = SLIDER
    prompted = False

    def needs_observation(self, carry: Any) -> bool:
        return False

    def act(
        self, carry: Any, observation: Any, prompt: Any, *, explore: bool
    ) -> tuple[np.ndarray, None]:
        return np.zeros(1, np.float32), None


class Plain(gymnasium.Env):
    """An environment that is none of this library's."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), seed=3)


@pytest.fixture(scope="module")
def slider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both phases on demonstrations that a user recorded in an environment of their
    own."""
    folder = tmp_path_factory.mktemp("slider")
    env = Slide("train")
    with DatasetWriter(
        folder / "set",
        env.embodiment_spec,
        fps=10,
        tasks=[TaskEntry(env.task, SAY)],
        environment={},
        images="png",
    ) as writer:
        for seed in range(6):
            writer.add(demonstration(env, seed))
    data = EpisodeDataset.open(folder / "set").path
    first = train(preset("dualmind/phase1-debug"), data=data, output=folder / "first")
    second = preset("dualmind/phase2-debug")
    return train(second, data=data, output=folder / "second", start_from=first)


def demonstration(env: Environment, seed: int) -> Episode:
    """One episode of the expert, stacked by the user."""
    images, states, actions, rewards, successes = [], [], [], [], []
    observation, _ = env.reset(seed=seed)
    for _ in range(env.max_steps):
        action = env.expert_action()
        images.append(observation["images"]["side"])
        states.append(observation["state"])
        observation, reward, _, _, info = env.step(action)
        actions.append(action)
        rewards.append(reward)
        successes.append(info["success"])
    action = np.stack(actions)
    return Episode(
        task=env.task,
        instruction=SAY,
        seed=seed,
        images={"side": np.stack(images)},
        state=np.stack(states),
        action=action,
        expert_action=action,
        reward=np.array(rewards, np.float32),
        success=np.array(successes),
    )


@pytest.mark.slow
def test_environments_are_evaluated_as_their_tasks(run: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"episodes": 2, "seed": 3, "max_steps": 12}
    by_name = evaluate(run, output=tmp_path / "names", workers=1, **settings)
    environments = [make(task, CONFIG, split="evaluation") for task in TASKS]
    for agent in (run, load(run)):
        result = evaluate(agent, env=environments, **settings)
        assert result.episodes == by_name.episodes
        assert compare(result, by_name).mismatches == ()
    alone = evaluate(run, env=environments[1], **settings)
    assert alone.tasks == TASKS[1:] and alone.episodes == by_name.episodes[2:]
    assert not (run / "evaluation").exists(), "nothing is saved but where output says so"


def test_held_actions_are_recorded_in_steps() -> None:
    """A limit is in steps of the environment, as by name, and not in held actions."""
    env = Slide("evaluation")
    env.hold_actions(3)
    agent = RandomAgent(env.embodiment_spec, seed=0)
    result = evaluate(agent, env=env, episodes=2)
    assert {record.length for record in result.episodes} == {20}
    assert result.provenance["max_steps"] == 20
    cut = evaluate(agent, env=env, episodes=2, max_steps=6)
    assert {record.length for record in cut.episodes} == {6}
    known = make(TASKS[0], CONFIG, split="evaluation")
    known.hold_actions(2)
    shown = evaluate(RandomAgent(known.embodiment_spec, seed=0), env=known, episodes=1, max_steps=6)
    assert shown.provenance["environment"]["action_repeat"] == 2
    assert shown.provenance["environment"]["max_steps"] == shown.episodes[0].length == 6


def test_own_environment_gets_its_trained_instruction(slider: Path) -> None:
    env = Slide("evaluation")
    result = evaluate(slider, env=env, episodes=3, seed=1)
    assert {record.prompt for record in result.episodes} == {SAY}
    assert result.provenance["split"] == "evaluation"
    assert 0 <= result.aggregate["success_any"].low <= result.aggregate["success_any"].high <= 1
    agent = load(slider)
    for record in result.episodes:
        again = rollout(env, agent, seed=record.seed, prompt=Prompt(SAY), explore=False)
        assert (again.length, again.success_any) == (record.length, record.success_any)
    other = evaluate(agent, env=env, episodes=3, seed=1, prompts="go to the mark")
    assert {record.prompt for record in other.episodes} == {"go to the mark"}


def test_untrained_prompts_are_refused(slider: Path) -> None:
    with pytest.raises(UserError, match=r"was not trained on prompts of 'goal_image'"):
        evaluate(slider, env=Slide("evaluation"), episodes=1, prompts="goal_image")


@pytest.mark.parametrize("prompts", ["goal_image", "instruction+demonstration", "half_goal_image"])
@pytest.mark.slow
def test_image_prompts_are_those_of_tasks(prompts: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", window=ANY_PROMPT)
    settings: dict[str, Any] = {"episodes": 1, "prompts": prompts}
    env = make(TASKS[0], CONFIG, split="evaluation")
    by_name = evaluate(run, tasks=TASKS[0], output=tmp_path / "names", workers=1, **settings)
    assert evaluate(run, env=env, **settings).episodes == by_name.episodes


def test_any_agent_is_evaluated_on_environments(tmp_path: Path) -> None:
    env = Slide("evaluation")
    expert = evaluate(ExpertAgent(env), env=env, episodes=3, until_success=True)
    still = evaluate(Still(), env=env, episodes=3, output=tmp_path / "still", videos=1)
    assert expert.aggregate["success_any"].mean == 1
    assert still.aggregate["return"].mean < expert.aggregate["return"].mean
    assert [record.seed for record in still.episodes] == [record.seed for record in expert.episodes]
    assert Result.load(tmp_path / "still").episodes == still.episodes
    assert len([*(tmp_path / "still" / "videos").rglob("*.mp4")]) >= 1
    assert still.provenance["agent_class"].endswith(".Still")


def test_saved_environment_results_are_not_continued(tmp_path: Path) -> None:
    """A user's code may have changed between two calls, which no manifest can say."""
    env = Slide("evaluation")
    evaluate(Still(), env=env, episodes=1, output=tmp_path / "out")
    with pytest.raises(UserError, match=r"was begun with other settings .*started"):
        evaluate(Still(), env=env, episodes=1, output=tmp_path / "out")
    again = evaluate(Still(), env=env, episodes=2, output=tmp_path / "out", overwrite=True)
    assert Result.load(tmp_path / "out").episodes == again.episodes


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Plain(), r"env is a Plain with observations Box\(.*expected a manyparts.Environment"),
        (object(), "env is of type object; expected a manyparts.Environment"),
        ("pointmass/reach", r"name tasks with tasks='pointmass/reach', or pass make\("),
        ([], "env is empty"),
    ],
    ids=["plain", "object", "text", "none"],
)
def test_other_environments_are_refused(env: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        environments_by_task(env)


def test_wrapped_environment_is_refused() -> None:
    wrapped = gymnasium.wrappers.TimeLimit(Slide("evaluation"), 10)
    with pytest.raises(UserError, match=r"wrapped in TimeLimit.*pass env\.unwrapped"):
        environments_by_task(wrapped)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": "pointmass/reach"}, "tasks and env both say what is evaluated"),
        ({"workers": 2}, "workers is 2, and env is evaluated in this process"),
        ({"prompt_task": "pointmass/reach"}, "pass the instruction itself as prompts"),
        ({"videos": 1}, "there is no output folder"),
        ({"device": "cpu"}, r"settings of load\(\)"),
        ({"episodes": 0}, "episodes is 0; expected at least 1"),
        ({"max_steps": 60}, "max_steps is 60, and episodes of mysuite/slide end after 20 steps"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_that_do_not_fit_environments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(Still(), env=Slide("evaluation"), **changes)


def test_environment_of_another_embodiment_is_refused(run: Path) -> None:
    env = Slide("evaluation")
    for agent in (run, load(run)):
        with pytest.raises(UserError, match="mysuite/slide has another embodiment than the agent"):
            evaluate(agent, env=env, episodes=1)
    with pytest.raises(UserError, match="two environments of mysuite/slide"):
        evaluate(Still(), env=[env, Slide("train")])


def test_settings_of_environments_are_named(run: Path) -> None:
    with pytest.raises(UserError, match=r"env=make\(task, EnvConfig\(\.\.\.\)"):
        evaluate(run, image_size=64)  # type: ignore[call-arg]
    assert EnvConfig().image_size == 64
