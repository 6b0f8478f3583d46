"""Collection by other policies than experts: random actions, agents, and tasks without success."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from envs import gym_worlds
from rollout.collecting import SMALL, TASKS, assert_replayed, digest
from training.online.tiny import tiny

from manyparts import load
from manyparts.agents.expert import Noise
from manyparts.agents.for_environment import learned_embodiment
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import repair
from manyparts.data.tools.convert import convert
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset
from manyparts.models.checkpoint import load_info, resolve
from manyparts.rollout import recorded_tries
from manyparts.rollout.collect import collect
from manyparts.rollout.recorded_tries import RANDOM, CollectConfig, RecordedTry, record_episode
from manyparts.training.online.train import train_online
from manyparts.training.train import train

DOT, SILENT, FORGETFUL = (
    f"gym:{gym_worlds.__name__}:{kind}-v0" for kind in ("Dot", "Silent", "Forgetful")
)


@pytest.fixture(scope="module")
def random_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("random") / "data"
    collect(TASKS[0], episodes=4, output=output, config=SMALL, policy=RANDOM, workers=1)
    return output


def test_random_episodes_are_kept_whatever_their_outcome(random_data: Path) -> None:
    dataset = EpisodeDataset.open(random_data)
    assert dataset.num_episodes == 4
    episodes = list(dataset)
    assert not all(episode.success.any() for episode in episodes)
    for episode in episodes:
        assert np.array_equal(episode.action, episode.expert_action)
    assert len({episode.seed for episode in episodes}) == 4
    written = json.loads((random_data / "meta" / "collection.json").read_text())
    assert written["policy"] == "random" and written["noise"]["fraction"] == 0
    assert written["tries"][TASKS[0]]["tries"] == 4


def test_random_episodes_replay_from_their_seeds(random_data: Path) -> None:
    env = registry.make(TASKS[0], SMALL)
    for episode in EpisodeDataset.open(random_data):
        env.begin(episode.seed)
        for step in range(len(episode)):
            np.testing.assert_array_equal(env.observe()["state"], episode.state[step])
            reward, _, _, info = env.advance(episode.action[step])
            assert np.float32(reward) == episode.reward[step]
            assert info["success"] == episode.success[step]
    env.close()


@pytest.mark.slow
def test_workers_change_no_byte_of_random_episodes(random_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "data"
    collect(TASKS[0], episodes=4, output=output, config=SMALL, policy=RANDOM, workers=2)
    assert digest(output) == digest(random_data)


def test_expert_datasets_say_nothing_new(tmp_path: Path) -> None:
    collect(TASKS[0], episodes=1, output=tmp_path / "data", config=SMALL, workers=1)
    written = json.loads((tmp_path / "data" / "meta" / "collection.json").read_text())
    assert "policy" not in written
    env = registry.make(TASKS[0], SMALL)
    episode = EpisodeDataset.open(tmp_path / "data").episode(0)
    env.begin(episode.seed)
    assert_replayed(env, episode)
    env.close()


def test_task_without_expert_names_the_near_choices(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        collect(DOT, episodes=2, output=tmp_path / "data")
    assert str(error.value) == (
        f"{DOT} has no expert; choices: --policy random, or --policy RUN with an agent's folder"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("policy", "noise", "says"),
    [
        ("randum", None, "policy: no run or checkpoint at randum; choices: expert, random, or a"),
        ("random", Noise(), "noise is added to experts' actions; policy 'random' acts without"),
    ],
)
def test_wrong_policy_is_refused(
    tmp_path: Path, policy: str, noise: Noise | None, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        collect(TASKS[0], episodes=1, output=tmp_path / "data", policy=policy, noise=noise)
    assert list(tmp_path.iterdir()) == []


def test_unknown_success_is_no_column(tmp_path: Path, capsys) -> None:
    output = tmp_path / "data"
    collect(SILENT, episodes=3, output=output, config=SMALL, policy="random", workers=1)
    dataset = EpisodeDataset.open(output)
    assert "next.success" not in json.loads((output / "meta" / "info.json").read_text())["features"]
    assert [row["success"] for row in dataset.summary()["tasks"]] == [None] * len(dataset.tasks)
    assert not dataset.episode(0).success.any()
    assert "failed" not in capsys.readouterr().err
    for copied, copy in ((tmp_path / "converted", convert), (tmp_path / "repaired", repair)):
        copy(output, copied)
        assert not EpisodeDataset.open(copied).knows_success, "a copy knows no more"
    assert not dataset.knows_success


def test_seeds_that_do_not_decide_all_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late success is played again for its images, and must be the same episode."""
    monkeypatch.setattr(recorded_tries, "RENDERED_STEPS", -5)
    env = registry.make(TASKS[0], SMALL)
    config = CollectConfig(
        tasks=(TASKS[0],),
        episodes=1,
        seed=0,
        environment=SMALL,
        noise=Noise(fraction=0.0),
        images="png",
        keep_failures=False,
        steps_after_success=5,
    )
    job = RecordedTry(TASKS[0], 0, config, tmp_path)
    episode, result = record_episode(env, job)
    assert result.success_any and episode is not None and len(episode) == result.length
    advance, drift = env._advance, itertools.count()

    def unsteady(action: np.ndarray) -> tuple[float, bool]:
        reward, success = advance(action)
        return reward + 1e-3 * next(drift), success

    monkeypatch.setattr(env, "_advance", unsteady)
    with pytest.raises(UserError, match=r'another episode when seed .* seeding="none"'):
        record_episode(env, job)


def test_each_instruction_is_a_task_of_the_dataset(tmp_path: Path) -> None:
    collect(
        DOT, episodes=6, output=tmp_path / "data", config=SMALL, policy="random", workers=1, seed=1
    )
    dataset = EpisodeDataset.open(tmp_path / "data")
    assert {task.name: task.instruction for task in dataset.tasks} == {
        f"{DOT}#go left": "go left",
        f"{DOT}#go right": "go right",
    }
    assert {task.environment for task in dataset.tasks} == {DOT}
    for episode in dataset:
        goal = episode.state[0, dataset.spec.state_names.index("desired_goal")]
        assert episode.instruction == ("go left" if goal < 0 else "go right")


@pytest.mark.slow
def test_known_and_unknown_success_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has another embodiment|success of .* is unknown"):
        collect([DOT, SILENT], episodes=1, output=tmp_path / "data", policy="random", workers=1)


@pytest.mark.slow
def test_episodes_that_do_not_come_again_are_recorded(tmp_path: Path) -> None:
    with pytest.warns(match="Forgetful-v0: seeds 0, 1 gave another start"):
        dataset = collect(
            FORGETFUL, episodes=3, output=tmp_path / "data", policy="random", workers=1
        )
    assert dataset.num_episodes == 3


@pytest.mark.slow
def test_agent_records_episodes_as_it_acts(random_data: Path, tmp_path: Path) -> None:
    phases = [replace(preset(f"dualmind/phase{number}-debug"), steps=2) for number in (1, 2)]
    first = train(phases[0], data=random_data, output=tmp_path / "first")
    run = train(phases[1], data=random_data, output=tmp_path / "run", start_from=first)
    output = tmp_path / "data"
    arguments = {"episodes": 2, "config": SMALL, "workers": 1}
    dataset = collect(TASKS[0], output=output, policy=run, **arguments)
    assert dataset.num_episodes == 2 and len(dataset.episode(0)) > 5
    written = json.loads((output / "meta" / "collection.json").read_text())
    assert len(written["policy"]["weights"]) == 64
    # What is not said is as the agent saw it.
    collect(TASKS[0], output=tmp_path / "again", policy=str(run), episodes=2, workers=1)
    assert digest(tmp_path / "again") == digest(output)
    arguments["config"] = {"image_size": 32}
    with pytest.raises(UserError, match="has another embodiment than the agent"):
        collect(TASKS[0], output=tmp_path / "large", policy=run, **arguments)


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned by acting, from full states without images, and holds its actions."""
    return train_online(
        tiny(action_repeat=2, final_episodes=0),
        environment="pointmass/reach",
        environment_config={"max_steps": 20},
        output=tmp_path_factory.mktemp("acting") / "run",
    )


@pytest.mark.slow
def test_agent_of_states_records_images_of_what_it_saw(acting: Path, tmp_path: Path) -> None:
    shown = {"image_size": 16}
    task = "pointmass/reach"
    dataset = collect(
        task, episodes=1, output=tmp_path / "data", config=shown, policy=acting, workers=1
    )
    assert dataset.spec.cameras == {"top": (16, 16)} and dataset.spec.state_dimension == 6
    environment = EnvConfig.of(dataset.environment or {})
    assert environment == EnvConfig(16, state="full", max_steps=20, action_repeat=2)
    agent, episode, carry = load(acting), dataset.episode(0), None
    for step in range(len(episode)):
        observation = {"images": {}, "state": episode.state[step]}
        action, carry = agent.act(carry, observation, None, explore=False)
        np.testing.assert_array_equal(action, episode.action[step])
    assert len(episode) == 10 and np.ptp(episode.images["top"]) > 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": "proprioception"}, r"\(state_names: 6 with velocity_x, .*, 2\)"),
        ({"action_repeat": 1}, r"\(action.control_rate_hz: 10.0, 20.0\)"),
    ],
)
def test_agent_needs_the_states_and_the_rate_that_it_saw(
    acting: Path, changes: dict[str, object], says: str
) -> None:
    info = load_info(resolve(acting))
    seen = EnvConfig(16, state="full", action_repeat=2)
    with closing(registry.make("pointmass/reach", seen)) as env:
        assert learned_embodiment(info, env) == "pointmass"
    other = registry.make("pointmass/reach", replace(seen, **changes))
    with closing(other), pytest.raises(UserError, match=f"than the agent {says}"):
        learned_embodiment(info, other)
