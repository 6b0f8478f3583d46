"""Windows hold what the dataset holds, in an order that is a function of (seed, step)."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data.synthetic import TASKS, make_episode, write
from hypothesis import given, settings
from hypothesis import strategies as st

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.embodiment.statistics import Statistics

EPISODES = [make_episode(seed, length) for seed, length in enumerate((9, 1, 23, 14))]
NUM_FRAMES = 47


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return write(tmp_path_factory.mktemp("toy") / "set", EPISODES)


@pytest.fixture(scope="module")
def cache(dataset: EpisodeDataset, tmp_path_factory: pytest.TempPathFactory) -> FrameCache:
    return FrameCache.open(dataset, tmp_path_factory.mktemp("cache"))


def same(one: Batch, other: Batch) -> bool:
    tensors = (
        "state",
        "action",
        "expert_action",
        "reward",
        "timestep",
        "mask",
        "chunk_mask",
        "window",
    )
    return (
        all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)
        and all(torch.equal(one.images[name], other.images[name]) for name in one.images)
        and one.prompt == other.prompt
    )


@settings(max_examples=30)
@given(steps=st.integers(1, 5), chunk=st.integers(1, 7), seed=st.integers(0, 5))
def test_windows_are_pieces_of_their_episodes(
    dataset: EpisodeDataset, cache: FrameCache, steps: int, chunk: int, seed: int
) -> None:
    batch = Windows(dataset, cache, WindowConfig(steps, chunk), seed=seed).batch(0, NUM_FRAMES)
    state = dataset.statistics["observation.state"]
    for row, window in enumerate(batch.window.tolist()):
        number = int(np.searchsorted(dataset.starts, window, side="right")) - 1
        episode, first = EPISODES[number], window - int(dataset.starts[number])
        for t in range(steps):
            now = first + t * chunk
            assert batch.mask[row, t] == (now < len(episode))
            if now >= len(episode):
                assert not batch.images["front"][row, t].any() and not batch.state[row, t].any()
                assert not batch.action[row, t].any() and batch.reward[row, t] == 0
                assert batch.timestep[row, t] == len(episode) - 1
                continue
            assert batch.timestep[row, t] == now
            shown = batch.images["front"][row, t].numpy()
            np.testing.assert_array_equal(shown, episode.images["front"][now].transpose(2, 0, 1))
            expected = (episode.state[now] - np.asarray(state.mean)) / np.asarray(state.std)
            np.testing.assert_allclose(batch.state[row, t], expected, rtol=1e-4, atol=1e-5)
            taken = slice(now, min(now + chunk, len(episode)))
            real = taken.stop - now
            assert batch.chunk_mask[row, t].tolist() == [True] * real + [False] * (chunk - real)
            contract = dataset.spec.action
            np.testing.assert_allclose(
                batch.action[row, t, :real], contract.normalise(episode.action[taken])
            )
            expert = contract.normalise(episode.expert_action[taken])
            np.testing.assert_allclose(batch.expert_action[row, t, :real], expert)
            assert (
                not batch.action[row, t, real:].any()
                and not batch.expert_action[row, t, real:].any()
            )
            np.testing.assert_allclose(batch.reward[row, t], episode.reward[taken].sum(), rtol=1e-5)
        assert batch.prompt[row].instruction in (
            TASKS[number % 2].instruction,
            *TASKS[number % 2].paraphrases,
        )


@given(batch_size=st.integers(1, 60), seed=st.integers(0, 2**63))
@settings(max_examples=25)
def test_each_epoch_draws_every_window_once(
    dataset: EpisodeDataset, cache: FrameCache, batch_size: int, seed: int
) -> None:
    windows = Windows(dataset, cache, WindowConfig(), seed=seed)
    assert windows.num_windows == NUM_FRAMES
    drawn = [
        windows.order(np.arange(batch_size) + step * batch_size)
        for step in range(2 * NUM_FRAMES // batch_size + 1)
    ]
    order = np.concatenate(drawn)
    for epoch in range(2):
        assert sorted(order[epoch * NUM_FRAMES : (epoch + 1) * NUM_FRAMES][:NUM_FRAMES]) == list(
            range(NUM_FRAMES)
        ) or (len(order) < (epoch + 1) * NUM_FRAMES)


def test_order_depends_on_seed_and_step(dataset: EpisodeDataset, cache: FrameCache) -> None:
    one, other = (Windows(dataset, cache, WindowConfig(), seed=3) for _ in range(2))
    for step in (5, 0, 7):
        one.batch(step, 8)
    assert same(one.batch(2, 8), other.batch(2, 8))
    assert not same(one.batch(2, 8), one.batch(3, 8))
    assert not torch.equal(
        one.batch(2, 8).window, Windows(dataset, cache, WindowConfig(), seed=4).batch(2, 8).window
    )
    epochs = [one.order(np.arange(NUM_FRAMES) + epoch * NUM_FRAMES).tolist() for epoch in range(2)]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_draw_parts_of_one_batch(
    dataset: EpisodeDataset, cache: FrameCache, world_size: int
) -> None:
    windows = Windows(dataset, cache, WindowConfig(), seed=0)
    whole = windows.batch(1, 16)
    parts = [windows.batch(1, 16, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert torch.cat([part.window for part in parts]).tolist() == whole.window.tolist()
    assert torch.equal(torch.cat([part.images["front"] for part in parts]), whole.images["front"])
    assert tuple(prompt for part in parts for prompt in part.prompt) == whole.prompt
    with pytest.raises(UserError, match="does not divide"):
        windows.batch(0, 15, world_size=2)


def test_chosen_episodes_give_only_their_windows(
    dataset: EpisodeDataset, cache: FrameCache
) -> None:
    windows = Windows(dataset, cache, WindowConfig(), seed=0, episodes=[3, 1])
    assert windows.num_windows == 15
    assert sorted(windows.order(np.arange(15))) == [9, *range(33, 47)]
    with pytest.raises(UserError, match="0 to 3"):
        Windows(dataset, cache, WindowConfig(), seed=0, episodes=[4])
    with pytest.raises(UserError, match="chosen"):
        Windows(dataset, cache, WindowConfig(), seed=0, episodes=[])


def test_states_may_keep_another_datasets_statistics(
    dataset: EpisodeDataset, cache: FrameCache
) -> None:
    state = replace(
        dataset.statistics["observation.state"], mean=(0.0, 0.0, 0.0), std=(1.0, 2.0, 4.0)
    )
    other = Statistics({"observation.state": state})
    batch = Windows(dataset, cache, WindowConfig(1, 1), seed=0, statistics=other).batch(0, 8)
    states = np.concatenate([episode.state for episode in EPISODES])[batch.window.numpy()]
    np.testing.assert_allclose(batch.state[:, 0], states / [1, 2, 4], rtol=1e-5)


def test_paraphrases_can_be_switched_off(dataset: EpisodeDataset, cache: FrameCache) -> None:
    drawn = {
        prompt.instruction
        for step in range(20)
        for prompt in Windows(dataset, cache, WindowConfig(), seed=0).batch(step, 16).prompt
    }
    assert drawn == {
        instruction for task in TASKS for instruction in (task.instruction, *task.paraphrases)
    }
    plain = Windows(dataset, cache, WindowConfig(paraphrases=False), seed=0).batch(0, 32)
    assert {prompt.instruction for prompt in plain.prompt} == {task.instruction for task in TASKS}


@pytest.mark.parametrize("mapped", [True, False])
def test_features_stand_in_for_images(
    dataset: EpisodeDataset, cache: FrameCache, tmp_path: Path, mapped: bool
) -> None:
    tokens = np.arange(NUM_FRAMES * 6, dtype=np.float16).reshape(NUM_FRAMES, 2, 3)
    np.save(tmp_path / "tokens.npy", tokens)
    features = np.load(tmp_path / "tokens.npy", mmap_mode="r") if mapped else tokens
    windows = Windows(dataset, cache, WindowConfig(3, 2), seed=0, features={"front": features})
    batch = windows.batch(0, NUM_FRAMES)
    assert batch.images == {} and batch.features["front"].dtype == torch.float16
    for row, window in enumerate(batch.window.tolist()):
        for t in range(3):
            expected = tokens[window + 2 * t] if batch.mask[row, t] else np.zeros((2, 3))
            np.testing.assert_array_equal(batch.features["front"][row, t], expected)


def test_frames_in_memory_equal_the_files(dataset: EpisodeDataset, cache: FrameCache) -> None:
    config = WindowConfig(3, 2)
    read = Windows(dataset, cache, config, seed=0)
    in_memory = Windows(dataset, cache, config, seed=0, frames=cache.on(torch.device("cpu")))
    assert same(in_memory.batch(0, NUM_FRAMES), read.batch(0, NUM_FRAMES))


def test_views_of_mapped_arrays_are_read(
    dataset: EpisodeDataset, cache: FrameCache, tmp_path: Path
) -> None:
    np.save(
        tmp_path / "tokens.npy", np.arange((NUM_FRAMES + 5) * 2, dtype=np.float32).reshape(-1, 1, 2)
    )
    view = np.load(tmp_path / "tokens.npy", mmap_mode="r")[5:]
    batch = Windows(dataset, cache, WindowConfig(1, 1), seed=0, features={"front": view}).batch(
        0, 8
    )
    assert batch.features["front"][:, 0, 0, 0].tolist() == [
        2.0 * (window + 5) for window in batch.window.tolist()
    ]


def test_descriptions_name_episode_and_frames(dataset: EpisodeDataset, cache: FrameCache) -> None:
    windows = Windows(dataset, cache, WindowConfig(2, 4), seed=0)
    assert windows.describe(10) == "episode 2 (toy/reach), frames 0-8"
    assert windows.describe(32) == "episode 2 (toy/reach), frames 22-23"


def test_another_process_draws_the_same(dataset: EpisodeDataset, cache: FrameCache) -> None:
    windows = Windows(dataset, cache, WindowConfig(), seed=0)
    before = windows.batch(4, 8)
    assert same(pickle.loads(pickle.dumps(windows)).batch(4, 8), before)


def test_windows_longer_than_the_dataset(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(0, 3)])
    windows = Windows(
        dataset, FrameCache.open(dataset, tmp_path / "cache"), WindowConfig(4, 4), seed=0
    )
    batch = windows.batch(0, 3)
    assert batch.mask.sum() == 3 and batch.chunk_mask.sum() == 3 + 2 + 1


@pytest.mark.parametrize(("steps", "chunk"), [(4, 1), (3, 2), (2, 5), (1, 30)])
def test_last_actions_carry_the_termination(tmp_path: Path, steps: int, chunk: int) -> None:
    ended = (True, False, True, False)
    episodes = [replace(each, terminated=end) for each, end in zip(EPISODES, ended, strict=True)]
    dataset = write(tmp_path / "set", episodes, terminates=True)
    cache = FrameCache.open(dataset, tmp_path / "cache")
    batch = Windows(dataset, cache, WindowConfig(steps, chunk), seed=0).batch(0, NUM_FRAMES)
    assert batch.terminated is not None
    for row, window in enumerate(batch.window.tolist()):
        number = int(np.searchsorted(dataset.starts, window, side="right")) - 1
        last = int(dataset.starts[number + 1]) - 1 - window  # its last action, from the window's
        expected = [ended[number] and t * chunk <= last < (t + 1) * chunk for t in range(steps)]
        assert batch.terminated[row].tolist() == expected
    assert not (batch.terminated & ~batch.mask).any()


def test_unsaid_terminations_are_none(dataset: EpisodeDataset, cache: FrameCache) -> None:
    assert Windows(dataset, cache, WindowConfig(), seed=0).batch(0, 8).terminated is None


def test_nonsense_windows_are_refused() -> None:
    with pytest.raises(UserError, match="steps is 0"):
        WindowConfig(steps=0)
