"""From collection to a result with discrete actions and images of goals, in two worlds of
miniworld."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from rollout.collecting import assert_replayed, digest
from training.runs import first, second

from manyparts.agents.expert import ExpertAgent, Noise
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.envs.base import EnvConfig
from manyparts.envs.registry import make
from manyparts.evaluation.episode_prompts import episode_prompt
from manyparts.evaluation.protocol import evaluate
from manyparts.methods import preset
from manyparts.rollout.collect import collect
from manyparts.training.train import train

pytestmark = pytest.mark.skipif(find_spec("miniworld") is None, reason="miniworld is not installed")

TASKS = ("navigation/hallway", "navigation/one-room")
CONFIG = EnvConfig(image_size=16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return collect(
        TASKS,
        episodes=4,
        output=tmp_path_factory.mktemp("collected") / "data",
        config=CONFIG,
        workers=1,
    )


@pytest.mark.slow
def test_replayed_actions_give_equal_frames(dataset: EpisodeDataset) -> None:
    for index in (0, 7):
        episode = dataset.episode(index)
        env = make(episode.task, CONFIG)
        env.begin(episode.seed)
        assert_replayed(env, episode)


def test_goal_images_and_choices_are_columns(dataset: EpisodeDataset) -> None:
    feature = dataset.reader.features["observation.images.goal"]
    assert (feature["dtype"], feature["shape"]) == ("image", [16, 16, 3])
    assert dataset.reader.features["action"] == {
        "dtype": "float32",
        "shape": [1],
        "names": ["choice"],
    }
    assert dataset.spec.action.choices == ("turn_left", "turn_right", "forward", "stop")
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index)
        assert (episode.images["goal"] == episode.images["goal"][0]).all()
        assert set(np.unique(episode.action)) | set(np.unique(episode.expert_action)) <= {
            0,
            1,
            2,
            3,
        }


@pytest.mark.slow
def test_worker_count_changes_no_byte(dataset: EpisodeDataset, tmp_path: Path) -> None:
    collect(TASKS, episodes=4, output=tmp_path / "data", config=CONFIG, workers=2)
    assert digest(tmp_path / "data") == digest(dataset.path)


def test_choices_are_centres_of_bins(dataset: EpisodeDataset) -> None:
    batch = Windows(
        dataset, FrameCache.open(dataset), WindowConfig(steps=2, chunk=3), seed=0
    ).batch(0, 16)
    values = batch.action[batch.chunk_mask].unique().tolist()
    assert set(values) <= {-0.75, -0.25, 0.25, 0.75} and len(values) > 2
    assert batch.images["goal"].shape == batch.images["first_person"].shape


def test_noise_changes_choices_for_several_steps(
    dataset: EpisodeDataset,
) -> None:
    noisy = [
        bool((episode.action != episode.expert_action).any())
        for episode in map(dataset.episode, range(8))
    ]
    assert 0 < sum(noisy) <= 4
    env = make(TASKS[0], CONFIG)
    env.begin(0)
    agent, carry, other = ExpertAgent(env, Noise(), seed=3), None, []
    for _ in range(1500):
        action, carry = agent.act(carry, None, None, explore=True)
        other.append(bool(action != carry.expert_action))
    begins = np.sum(np.diff(np.array([False, *other]).astype(int)) == 1)
    assert 0.06 < np.mean(other) < 0.13
    assert np.sum(other) / begins > 1.8
    clean, _ = agent.act(None, None, None, explore=False)
    assert clean == env.expert_action()


@pytest.mark.slow
def test_goal_camera_gives_the_prompt(dataset: EpisodeDataset, tmp_path: Path) -> None:
    assert dataset.spec.goal_camera == "goal"
    window = WindowConfig(steps=2, chunk=3, goal_image=True)
    batch = Windows(dataset, FrameCache.open(dataset), window, seed=0).batch(0, 16)
    prompt_images = batch.prompt_images
    assert prompt_images is not None and prompt_images.mask[:, 0].any()
    for name in dataset.spec.cameras:
        goal_image = prompt_images.images[name][:, 0][prompt_images.mask[:, 0]]
        assert torch.equal(goal_image, batch.images["goal"][:, 0][prompt_images.mask[:, 0]])
    env = make(TASKS[0], CONFIG, split="evaluation")
    prompt = episode_prompt("goal_image", TASKS[0], 0, 5, env, CONFIG, window)
    env.begin(5)
    assert prompt.goal is not None and prompt.goal.keys() == env.embodiment_spec.cameras.keys()
    assert all(np.array_equal(image, env.goal_image()) for image in prompt.goal.values())
    one = train(first(), data=dataset.path, output=tmp_path / "one", device="cpu")
    prompted = replace(preset("dualmind/phase2-prompts-debug"), steps=4)
    two = train(prompted, data=dataset.path, output=tmp_path / "two", start_from=one, device="cpu")
    result = evaluate(
        two, tasks=TASKS[:1], episodes=1, max_steps=8, prompts="goal_image", workers=1
    )
    assert result.provenance["prompts"] == "goal_image" and result.episodes[0].prompt is None


def test_demonstrations_end_at_the_goal(dataset: EpisodeDataset, tmp_path: Path) -> None:
    assert (
        json.loads((dataset.path / "meta" / "collection.json").read_text())["steps_after_success"]
        == 0
    )
    assert all(dataset.episode(index).success.sum() == 1 for index in range(dataset.num_episodes))
    asked = collect(
        TASKS[1:],
        episodes=1,
        output=tmp_path / "asked",
        config=CONFIG,
        workers=1,
        steps_after_success=3,
    )
    assert asked.episode(0).success.sum() == 4


@pytest.mark.slow
def test_both_phases_train_and_report_spl(dataset: EpisodeDataset, tmp_path: Path) -> None:
    one = train(first(), data=dataset.path, output=tmp_path / "one", device="cpu")
    two = train(second(), data=dataset.path, output=tmp_path / "two", start_from=one, device="cpu")
    result = evaluate(two, episodes=2, max_steps=12, workers=1)
    assert result.tasks == TASKS and result.metrics == ("spl",)
    written = json.loads((two / "evaluation" / "results.json").read_text())
    assert set(written["aggregate"]["spl"]) == {"mean", "low", "high"}
    assert all(0 <= episode["metrics"]["spl"] <= 1 for episode in written["episodes"])
