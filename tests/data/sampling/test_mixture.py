"""A mixture draws exact fractions, shows every source's windows in their epochs, and pads with
masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from embodiments import ARM, BOTH, write_arm, write_crawler

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.mixture import Mixture
from manyparts.data.sampling.windows import Windows
from manyparts.embodiment.embodiment_set import EmbodimentSet

PROMPTED = WindowConfig(steps=3, chunk=2, goal_image=True, demonstration_frames=2)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Windows]:
    folder: Path = tmp_path_factory.mktemp("mixture")
    datasets = [write_arm(folder / "arm", 5), write_crawler(folder / "crawler", 3)]
    return [Windows(dataset, FrameCache.open(dataset), PROMPTED, seed=3) for dataset in datasets]


@pytest.fixture
def mixture(sources: list[Windows]) -> Mixture:
    return Mixture(sources, (2, 1), BOTH, seed=3)


def same(one: Batch, other: Batch) -> bool:
    tensors = [name for name, value in vars(one).items() if isinstance(value, torch.Tensor)]
    return one.prompt == other.prompt and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in tensors
    )


@pytest.mark.parametrize("weights", [(1, 1), (2, 1), (0.5, 0.01), (1, 1000), (1e-9, 1)])
def test_fractions_are_exact_at_every_step(sources, weights):
    mixture = Mixture(sources, weights, BOTH, seed=0)
    drawn = np.array([mixture.drawn(count) for count in range(2000)])
    assert (drawn.sum(axis=1) == np.arange(2000)).all() and (np.diff(drawn, axis=0) >= 0).all()
    expected = np.arange(2000)[:, None] * np.array(weights) / sum(weights)
    assert np.abs(drawn - expected).max() <= 1 + 1e-6
    assert mixture.fractions(0, 30) == {
        "arm": mixture.drawn(30)[0] / 30,
        "crawler": mixture.drawn(30)[1] / 30,
    }


def test_three_sources_keep_near_their_fractions(sources):
    mixture = Mixture([*sources, sources[0]], (0.01, 0.6, 0.39), BOTH, seed=0)
    drawn = np.array([mixture.drawn(count) for count in range(2000)])
    assert (drawn.sum(axis=1) == np.arange(2000)).all() and (np.diff(drawn, axis=0) >= 0).all()
    assert np.abs(drawn - np.arange(2000)[:, None] * np.array([0.01, 0.6, 0.39])).max() < 2


def test_batches_keep_fractions_in_random_order(mixture):
    batches = [mixture.batch(step, 12) for step in range(4)]
    assert [int((batch.embodiment == 1).sum()) for batch in batches] == [4, 4, 4, 4]
    assert len({tuple(batch.embodiment.tolist()) for batch in batches}) > 1


def test_batches_are_functions_of_the_step(sources, mixture):
    again = Mixture(sources, (2, 1), BOTH, seed=3)
    assert same(mixture.batch(7, 12), again.batch(7, 12))
    assert not same(mixture.batch(7, 12), mixture.batch(8, 12))


@pytest.mark.parametrize("world", [2, 3, 6])
def test_ranks_share_one_processs_batch(mixture, world):
    whole = mixture.batch(5, 12)
    parts = [mixture.batch(5, 12, rank=rank, world_size=world) for rank in range(world)]
    for name in ("window", "embodiment", "state", "action", "state_mask"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert sum((part.prompt for part in parts), ()) == whole.prompt
    with pytest.raises(UserError, match="batch size 12 does not divide among 5 processes"):
        mixture.batch(0, 12, rank=0, world_size=5)


def test_sources_show_windows_once_per_epoch(sources, mixture):
    windows = torch.cat([mixture.batch(step, 12).window for step in range(12)])
    embodiments = torch.cat([mixture.batch(step, 12).embodiment for step in range(12)])
    for number, source in enumerate(sources):
        own = windows[embodiments == number]
        for epoch in range(len(own) // source.num_windows):
            assert (
                len(own[epoch * source.num_windows : (epoch + 1) * source.num_windows].unique())
                == source.num_windows
            )


def test_rows_are_padded_sources_rows(sources, mixture):
    batch = mixture.batch(2, 12)
    first = [0, sources[0].num_windows]
    for number, (source, spec) in enumerate(zip(sources, BOTH.specs, strict=True)):
        alone = {
            int(window): row
            for row, window in enumerate(source.batch(0, source.num_windows).window)
        }
        drawn = source.batch(0, source.num_windows)
        s, a = spec.state_dimension, spec.action.dimension
        for row in torch.nonzero(batch.embodiment == number)[:, 0].tolist():
            other = alone[int(batch.window[row]) - first[number]]
            assert torch.equal(batch.state[row, :, :s], drawn.state[other])
            assert torch.equal(batch.action[row, ..., :a], drawn.action[other])
            assert not batch.state[row, :, s:].any() and not batch.action[row, ..., a:].any()
            assert batch.state_mask[row].tolist() == [True] * s + [False] * (
                BOTH.state_dimension - s
            )
            assert batch.action_mask[row].tolist() == [True] * a + [False] * (
                BOTH.action_dimension - a
            )
            for camera, slot in BOTH.slot_of(spec).items():
                assert torch.equal(batch.images[slot][row], drawn.images[camera][other])
            assert number == 1 or not batch.images["slot1"][row].any()


def test_prompt_images_are_padded_too(mixture):
    images = mixture.batch(0, 12).prompt_images
    assert (
        images is not None
        and set(images.images) == {"slot0", "slot1"}
        and images.action.shape[-1] == 2
    )


def test_windows_are_described_by_their_dataset(sources, mixture):
    assert mixture.describe(3).endswith("arm: episode 0 (toy/reach), frames 3-9")
    assert mixture.describe(sources[0].num_windows + 21).endswith(
        "crawler: episode 1 (toy/crawl), frames 1-7"
    )


def test_datasets_of_one_embodiment_keep_cameras(sources):
    mixture = Mixture([sources[0], sources[0]], (1, 1), EmbodimentSet((ARM,)), seed=0)
    batch = mixture.batch(0, 8)
    assert batch.embodiment is None and set(batch.images) == {"front"}
    assert list(mixture.fractions(0, 8)) == ["arm", "arm-2"]


def test_rows_name_their_dataset(sources, mixture):
    batch = mixture.batch(1, 12)
    assert batch.source is not None and batch.source.dtype == torch.int64
    assert torch.equal(batch.source, batch.embodiment)
    parts = [mixture.batch(1, 12, rank=rank, world_size=3).source for rank in range(3)]
    assert torch.equal(torch.cat(parts), batch.source)
    twice = Mixture([sources[0], sources[0]], (1, 1), EmbodimentSet((ARM,)), seed=0).batch(0, 8)
    assert twice.embodiment is None and twice.source is not None
    assert torch.equal(twice.source, (twice.window >= sources[0].num_windows).long())


@pytest.mark.parametrize("first", [True, False])
def test_missing_terminations_are_false(sources, tmp_path, first):
    unsaid = sources[0].dataset
    with DatasetWriter(
        tmp_path / "falls",
        unsaid.spec,
        fps=unsaid.fps,
        tasks=unsaid.tasks,
        environment=unsaid.environment,
        terminates=True,
    ) as writer:
        for episode in unsaid:
            writer.add(replace(episode, terminated=True))
    falls = EpisodeDataset.open(tmp_path / "falls")
    windows = Windows(falls, FrameCache.open(falls, tmp_path / "cache"), PROMPTED, seed=3)
    both = [windows, sources[0]] if first else [sources[0], windows]
    mixture = Mixture(both, (1, 1), EmbodimentSet((ARM,)), seed=0)
    batch = mixture.batch(0, 40)
    assert batch.terminated is not None and batch.source is not None
    from_falls = batch.source == (0 if first else 1)
    assert batch.terminated[from_falls].any() and not batch.terminated[~from_falls].any()
    assert mixture.sources[0].batch(0, 4).source is None


@pytest.mark.parametrize("weights", [(1,), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))])
def test_weights_that_mean_nothing_are_refused(sources, weights):
    with pytest.raises(UserError, match="weight"):
        Mixture(sources, weights, BOTH, seed=0)
