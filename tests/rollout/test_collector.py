"""An agent that acts while it is trained: episodes, seeds, failures and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import gym_worlds

from manyparts.agents.base import Agent
from manyparts.agents.random import RandomAgent, RandomCarry
from manyparts.core.errors import UserError
from manyparts.core.spec import Spec
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.replay import Replay
from manyparts.data.tools.export import export
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.registry import make
from manyparts.rollout.collector import Collector

CONFIG = EnvConfig(image_size=8, state="full", max_steps=7)


def make_collector(
    folder: Path,
    count: int = 1,
    task: str = "pointmass/reach",
    config: EnvConfig = CONFIG,
    **changes: Any,
) -> Collector:
    environments = [make(task, config) for _ in range(count)]
    replay = Replay(folder, environments[0].embodiment_spec, max_frames=10_000)
    return Collector(environments, replay, **{"seed": 3, **changes})


def random_agents(collector: Collector) -> Any:
    spec = collector.environments[0].embodiment_spec

    def agent_of(seed: int) -> Agent:
        return RandomAgent(spec, seed=seed)

    return agent_of


def actions_of(collector: Collector) -> list[np.ndarray]:
    return [episode.action for _, episode in collector.replay.read()]


def test_steps_are_those_of_environments(tmp_path: Path) -> None:
    collector = make_collector(tmp_path, config=replace(CONFIG, action_repeat=2))
    collector.until(21, random_agents(collector))
    # An episode of 7 steps is three actions of two steps, and one of one step.
    assert collector.environment_steps == 21
    assert [entry.length for entry in collector.replay.episodes] == [4, 4, 4]


def test_repeated_actions_sum_their_rewards(tmp_path: Path) -> None:
    collector = make_collector(tmp_path, config=replace(CONFIG, action_repeat=2))
    collector.until(7, random_agents(collector))
    ((entry, episode),) = collector.replay.read()
    env, rewards = make("pointmass/reach", CONFIG), []
    env.begin(entry.seed)
    for action in episode.action:
        repeats = 2 if len(rewards) + 2 <= 7 else 1
        rewards += [env.advance(action)[0] for _ in range(repeats)]
    expected = [sum(rewards[i : i + 2]) for i in range(0, 7, 2)]
    np.testing.assert_allclose(episode.reward, expected, rtol=1e-6)


@pytest.mark.parametrize("stop", [3, 7, 10])
def test_resumed_collection_equals_one_in_a_piece(tmp_path: Path, stop: int) -> None:
    whole, parts = make_collector(tmp_path / "a"), make_collector(tmp_path / "b")
    whole.until(25, random_agents(whole))
    parts.until(stop, random_agents(parts))
    other = make_collector(tmp_path / "b")
    other.restore(parts.state(), lambda values: RandomCarry(**values))
    other.until(25, random_agents(other))
    assert whole.replay.episodes == other.replay.episodes
    for first, second in zip(actions_of(whole), actions_of(other), strict=True):
        assert np.array_equal(first, second)
    assert whole.environment_steps == other.environment_steps == 25


def test_several_environments_act_in_turn(tmp_path: Path) -> None:
    one, two = make_collector(tmp_path / "a"), make_collector(tmp_path / "b", count=2)
    one.until(28, random_agents(one))
    two.until(28, random_agents(two))
    # The same episodes, since each is a function of its number.
    assert [each.seed for each in one.replay.episodes] == [
        each.seed for each in two.replay.episodes
    ]
    for first, second in zip(actions_of(one), actions_of(two), strict=True):
        assert np.array_equal(first, second)


def test_failing_environments_name_their_step(tmp_path: Path, monkeypatch: Any) -> None:
    collector = make_collector(tmp_path)
    collector.until(9, random_agents(collector))

    def broken(self: Environment, action: np.ndarray) -> Any:
        raise RuntimeError("the physics exploded")

    monkeypatch.setattr(type(collector.environments[0]), "_advance", broken)
    message = "pointmass/reach failed at step 2 of an episode: RuntimeError: the physics exploded"
    with pytest.raises(UserError, match=message):
        collector.until(12, random_agents(collector))
    assert len(collector.replay.episodes) == 1, "what was finished stays"


class Pushing:
    """Pushes to the right, whatever it sees."""

    prompted = False

    def act(self, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        return np.array([1, 0], np.float32), None


@pytest.mark.parametrize("action_repeat", [1, 4])
def test_falls_end_episodes_for_good(tmp_path: Path, action_repeat: int) -> None:
    config = EnvConfig(image_size=8, state="full", max_steps=30)
    held = replace(config, action_repeat=action_repeat)
    collector = make_collector(tmp_path, task="pointmass/reach-ledge", config=held)
    collector.whole_episodes(200, lambda seed: Pushing())  # type: ignore[arg-type,return-value]
    read = list(collector.replay.read())
    assert {entry.terminated for entry, _ in read} == {True, False}, "some are too far to fall"
    for entry, episode in read:
        assert episode.terminated == entry.terminated
        env, rewards = make("pointmass/reach-ledge", config), []
        env.begin(entry.seed)
        ends = (False, False)
        while not any(ends):
            reward, *ends, _ = env.advance(np.array([1, 0]))
            rewards.append(reward)
        assert ends[0] == episode.terminated and -(-len(rewards) // action_repeat) == entry.length
        np.testing.assert_allclose(episode.reward.sum(), sum(rewards), rtol=1e-5)


def test_all_environments_act(tmp_path: Path) -> None:
    """The turn goes on where it was, however few decisions are owed at once, and after a resume."""
    collector, other = make_collector(tmp_path / "a", 3), make_collector(tmp_path / "a", 3)
    for steps in range(2, 9, 2):
        collector.until(steps, random_agents(collector))
    other.restore(collector.state(), lambda values: RandomCarry(**values))
    other.until(11, random_agents(other))
    assert [len(running.action) for running in other.running if running] == [4, 4, 3]


def test_notes_that_nobody_keeps_are_left_out(tmp_path: Path) -> None:
    class Noting(RandomAgent):
        def notes(self, carry: object) -> dict[str, np.ndarray]:
            return {"taught": np.zeros(3)}

    collector = make_collector(tmp_path)
    spec = collector.replay.spec
    collector.until(7, lambda seed: Noting(spec, seed=seed))
    assert len(collector.replay.episodes) == 1


def test_prompted_agents_hear_the_task(tmp_path: Path) -> None:
    class Prompted(RandomAgent):
        prompted = True

        def act(self, carry: Any, observation: Any, prompt: Any, *, explore: bool) -> Any:
            assert prompt.instruction == "move to the target"
            return super().act(carry, observation, None, explore=explore)

    collector = make_collector(tmp_path)
    spec = collector.replay.spec
    collector.until(7, lambda seed: Prompted(spec, seed=seed))
    assert len(collector.replay.episodes) == 1


class Listener(RandomAgent):
    """Acts at random, and remembers what it was asked."""

    prompted = True

    def __init__(self, spec: Spec, heard: list[str], *, seed: int) -> None:
        super().__init__(spec, seed=seed)
        self.heard = heard

    def act(self, carry: Any, observation: Any, prompt: Any = None, *, explore: bool) -> Any:
        if carry is None:
            self.heard.append(prompt.instruction)
        return super().act(carry, observation, None, explore=explore)


def test_each_episode_is_asked_for_by_its_own_instruction(tmp_path: Path) -> None:
    """And a replay of such episodes is exported as `collect` records them."""
    task, heard = f"gym:{gym_worlds.__name__}:Dot-v0", []
    collector = make_collector(tmp_path / "replay", task=task, config=EnvConfig(image_size=8))
    spec = collector.environments[0].embodiment_spec
    collector.whole_episodes(400, lambda seed: Listener(spec, heard, seed=seed))
    assert set(heard) == {"go left", "go right"}
    assert [entry.instruction for entry in collector.replay.episodes] == heard
    export(tmp_path / "replay", tmp_path / "data")
    dataset = EpisodeDataset.open(tmp_path / "data")
    assert {entry.name for entry in dataset.tasks} == {f"{task}#{said}" for said in heard}
    assert [episode.instruction for episode in dataset] == heard
