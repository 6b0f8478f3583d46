"""Decoded frames: equal to the dataset's, built once, never half."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from data.synthetic import make_episode, make_spec, write

from manyparts.core.storage.caches import cache_root
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache

SPEC = make_spec(cameras=("front", "wrist"))
EPISODES = [make_episode(seed, 4 + seed, SPEC) for seed in range(4)]


@pytest.fixture
def dataset(tmp_path: Path) -> EpisodeDataset:
    return write(tmp_path / "set", EPISODES, SPEC)


def test_rows_are_the_datasets_frames(dataset: EpisodeDataset, tmp_path: Path) -> None:
    cache = FrameCache.open(dataset, tmp_path / "cache")
    assert cache.num_frames == dataset.num_frames
    for camera in SPEC.cameras:
        expected = np.concatenate([episode.images[camera] for episode in EPISODES]).transpose(
            0, 3, 1, 2
        )
        np.testing.assert_array_equal(cache.frames(camera, 0, cache.num_frames), expected)
        np.testing.assert_array_equal(cache.frames(camera, 3, 7), expected[3:7])
        assert cache.frames(camera, 5, 5).shape == (0, 3, 16, 16)
    numbers = cache.numbers.read(0, cache.num_frames)
    for name in ("state", "action", "expert_action", "reward", "success"):
        expected = np.concatenate([getattr(episode, name) for episode in EPISODES])
        np.testing.assert_array_equal(numbers[:, cache.columns[name]].squeeze(), expected)


def test_moved_datasets_keep_their_cache(
    dataset: EpisodeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FrameCache.open(dataset, tmp_path / "cache")
    moved = Path(shutil.copytree(dataset.path, tmp_path / "moved"))

    def refuse(self: EpisodeDataset, index: int) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(EpisodeDataset, "episode", refuse)
    assert FrameCache.open(EpisodeDataset.open(moved), tmp_path / "cache").folder == first.folder


@pytest.mark.parametrize("name", ["images-1.u8", "numbers.f32", "complete.json"])
def test_torn_caches_are_built_again(dataset: EpisodeDataset, tmp_path: Path, name: str) -> None:
    cache = FrameCache.open(dataset, tmp_path / "cache")
    whole = cache.frames("wrist", 0, cache.num_frames)
    file = cache.folder / name
    if name == "complete.json":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-7])
    again = FrameCache.open(dataset, tmp_path / "cache")
    np.testing.assert_array_equal(again.frames("wrist", 0, again.num_frames), whole)
    assert [path.name for path in cache.folder.parent.iterdir()] == [cache.folder.name]


def test_another_content_has_another_cache(dataset: EpisodeDataset, tmp_path: Path) -> None:
    other = write(tmp_path / "other", EPISODES[:2], SPEC)
    one, two = (FrameCache.open(item, tmp_path / "cache") for item in (dataset, other))
    assert one.folder != two.folder and two.num_frames == 9


def test_the_root_follows_argument_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANYPARTS_CACHE", str(tmp_path / "here"))
    assert (
        cache_root() == tmp_path / "here" and cache_root(tmp_path / "there") == tmp_path / "there"
    )
    monkeypatch.delenv("MANYPARTS_CACHE")
    assert cache_root() == Path.home() / ".cache" / "manyparts"
