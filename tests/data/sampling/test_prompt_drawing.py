"""Prompts of training: one or two of the kinds, images of the right episodes, a pure
function of the position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data.synthetic import TASKS, make_episode, make_spec, write

from manyparts.core.records import Batch, PromptImages
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.prompt_drawing import evenly_spaced
from manyparts.data.sampling.windows import Windows

LENGTHS, FRAMES = (9, 1, 23, 14, 6, 8), 3
EPISODES = [make_episode(seed, length) for seed, length in enumerate(LENGTHS)]
CONFIG = WindowConfig(2, 2, goal_image=True, demonstration_frames=FRAMES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return write(tmp_path_factory.mktemp("toy") / "set", EPISODES)


@pytest.fixture(scope="module")
def windows(dataset: EpisodeDataset, tmp_path_factory: pytest.TempPathFactory) -> Windows:
    return Windows(
        dataset, FrameCache.open(dataset, tmp_path_factory.mktemp("cache")), CONFIG, seed=0
    )


@pytest.fixture(scope="module")
def batch(windows: Windows) -> Batch:
    return windows.batch(0, 600)


def prompt_images_of(batch: Batch) -> PromptImages:
    assert batch.prompt_images is not None
    return batch.prompt_images


def has_instruction(batch: Batch) -> torch.Tensor:
    return torch.tensor([prompt.instruction is not None for prompt in batch.prompt])


def test_prompts_have_one_or_two_kinds(batch: Batch) -> None:
    images = prompt_images_of(batch)
    kinds_shown = torch.stack([has_instruction(batch), images.mask[:, 0], images.mask[:, 1]], dim=1)
    assert kinds_shown.sum(1).unique().tolist() == [1, 2]
    kinds, counts = kinds_shown.unique(dim=0, return_counts=True)
    assert len(kinds) == 6 and counts.min() > 60
    assert torch.equal(images.mask[:, 1:].all(1), images.mask[:, 1:].any(1))


def test_goals_are_last_frames_of_episodes(batch: Batch, dataset: EpisodeDataset) -> None:
    images = prompt_images_of(batch)
    for row, window in enumerate(batch.window.tolist()):
        episode = EPISODES[int(np.searchsorted(dataset.starts, window, side="right")) - 1]
        shown = images.images["front"][row, 0].permute(1, 2, 0).numpy()
        expected = episode.images["front"][-1] if images.mask[row, 0] else np.zeros_like(shown)
        assert np.array_equal(shown, expected)


def test_demonstrations_span_another_episode_of_tasks(
    batch: Batch, dataset: EpisodeDataset
) -> None:
    images = prompt_images_of(batch)
    for row in np.flatnonzero(images.mask[:, 1]):
        own = int(np.searchsorted(dataset.starts, int(batch.window[row]), side="right")) - 1
        shown = images.images["front"][row, 1:].permute(0, 2, 3, 1).numpy()
        demonstrated = [
            number
            for number, episode in enumerate(EPISODES)
            if np.array_equal(shown, episode.images["front"][shown_frames(len(episode))])
        ]
        assert len(demonstrated) == 1 and EPISODES[demonstrated[0]].task == EPISODES[own].task
        assert (
            demonstrated[0] != own
            or sum(episode.task == EPISODES[own].task for episode in EPISODES) == 1
        )
        episode, with_actions = EPISODES[demonstrated[0]], bool(images.action_mask[row, 1])
        for slot, frame in enumerate(shown_frames(len(episode)), start=1):
            for later in range(CONFIG.chunk):
                real = with_actions and frame + later < len(episode)
                wanted = dataset.spec.action.normalise(episode.action[frame + later]) if real else 0
                assert np.allclose(images.action[row, slot, later], wanted)


def test_half_of_demonstrations_show_actions(batch: Batch) -> None:
    images = prompt_images_of(batch)
    assert not images.action_mask[:, 0].any()
    fraction = images.action_mask[:, 1][images.mask[:, 1]].float().mean()
    assert 0.35 < fraction < 0.65


def test_prompts_are_functions_of_the_position(windows: Windows, batch: Batch) -> None:
    again = windows.batch(0, 600)
    assert again.prompt == batch.prompt
    ranks = [windows.batch(0, 600, rank=rank, world_size=2) for rank in range(2)]
    for name in ("mask", "action", "action_mask"):
        whole = getattr(prompt_images_of(batch), name)
        assert torch.equal(
            torch.cat([getattr(prompt_images_of(rank), name) for rank in ranks]), whole
        )
    assert len(TASKS) > 1


@pytest.mark.parametrize("cached", [False, True])
def test_goal_cameras_stand_for_every_camera(cached: bool, tmp_path: Path) -> None:
    spec = replace(make_spec(cameras=("front", "goal")), goal_camera="goal")
    episodes = [make_episode(seed, length, spec) for seed, length in enumerate(LENGTHS)]
    dataset = write(tmp_path / "set", episodes, spec)
    assert dataset.spec.goal_camera == "goal"
    features = (
        {name: np.zeros((dataset.num_frames, 2, 4), np.float16) for name in spec.cameras}
        if cached
        else None
    )
    cache = FrameCache.open(dataset, tmp_path / "cache")
    batch = Windows(dataset, cache, CONFIG, seed=0, features=features).batch(0, 50)
    assert bool(batch.features) == cached
    images = prompt_images_of(batch)
    assert images.mask[:, 0].any() and images.features == {}
    for row in np.flatnonzero(images.mask[:, 0]):
        episode = episodes[
            int(np.searchsorted(dataset.starts, batch.window[row], side="right")) - 1
        ]
        for name in spec.cameras:
            shown = images.images[name][row, 0].permute(1, 2, 0).numpy()
            assert np.array_equal(shown, episode.images["goal"][-1])
    shown = np.flatnonzero(images.mask[:, 1])[0]
    assert not torch.equal(images.images["front"][shown, 1], images.images["goal"][shown, 1])


def test_prompts_without_images_are_instructions(windows: Windows) -> None:
    plain = Windows(windows.dataset, windows.cache, WindowConfig(2, 2), seed=0).batch(0, 50)
    assert plain.prompt_images is None and has_instruction(plain).all()


def shown_frames(length: int) -> list[int]:
    return evenly_spaced(np.array([length]), FRAMES).tolist()
