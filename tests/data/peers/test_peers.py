"""Held against the other projects' own loaders and writers, in an environment of their own: `make
test-slow`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.peers.conftest import Run
from data.synthetic import make_episode, write

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check
from manyparts.data.tools.convert import convert

pytestmark = pytest.mark.slow
EPISODES = [make_episode(seed, 6 + seed % 3) for seed in range(5)]
COLUMNS = {
    "observation.state": "state",
    "action": "action",
    "expert_action": "expert_action",
    "next.reward": "reward",
    "next.success": "success",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source", EPISODES).path


def together(name: str) -> np.ndarray:
    return np.concatenate([getattr(episode, name) for episode in EPISODES])


@pytest.mark.parametrize("images", ["png", "video"])
def test_lerobot_reads_what_we_write(images: Any, source: Path, tmp_path: Path, run: Run) -> None:
    convert(source, tmp_path / "set", images=images)
    run("lerobot_read.py", tmp_path / "set", tmp_path / "read.npz")
    columns, dataset = np.load(tmp_path / "read.npz"), EpisodeDataset.open(tmp_path / "set")
    for key, name in COLUMNS.items():
        np.testing.assert_array_equal(columns[key], together(name))
    lengths = [len(episode) for episode in EPISODES]
    assert columns["episode_index"].tolist() == np.repeat(range(5), lengths).tolist()
    assert (
        columns["task"].tolist()
        == np.repeat([episode.instruction for episode in EPISODES], lengths).tolist()
    )
    np.testing.assert_allclose(
        columns["timestamp"],
        np.concatenate([np.arange(n) / dataset.fps for n in lengths]),
        atol=1e-6,
    )
    images = np.concatenate([dataset.frames(index, "front") for index in range(5)])
    shown = columns["observation.images.front"].transpose(0, 2, 3, 1) * 255
    np.testing.assert_allclose(shown, images, atol=2 if images == "video" else 1e-4)
    padded = [np.pad(each.action, ((0, 3), (0, 0)), mode="edge") for each in EPISODES]
    windows = np.concatenate(
        [np.stack([each[row : row + 4] for row in range(len(each) - 3)]) for each in padded]
    )
    np.testing.assert_array_equal(columns["window"], windows)
    assert columns["window_pad"].sum() == 5 * (1 + 2 + 3)
    for key, statistics in dataset.statistics.features.items():
        for name in ("min", "max", "mean", "std", "q01", "q50", "q99"):
            stored = np.asarray(getattr(statistics, name), np.float32)
            np.testing.assert_allclose(
                columns[f"stats/{key}/{name}"].ravel(), stored.ravel(), rtol=1e-5, atol=1e-6
            )
    np.testing.assert_allclose(
        columns["stats/action/mean"], together("action").mean(axis=0), atol=1e-6
    )


@pytest.mark.parametrize("before_v3", [False, True], ids=["v3.0", "v2.1"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_we_read_what_lerobot_writes(kind: str, before_v3: bool, tmp_path: Path, run: Run) -> None:
    columns = {name: together(name) for name in ("state", "action")} | {
        "images": np.concatenate(
            [np.kron(each.images["front"], np.ones((1, 4, 4, 1), np.uint8)) for each in EPISODES]
        ),
        "episode": np.repeat(range(5), [len(each) for each in EPISODES]),
        "task": np.asarray([each.instruction for each in EPISODES]),
    }
    np.savez(tmp_path / "episodes.npz", **columns)  # pyright: ignore
    run("lerobot_write.py", tmp_path / "episodes.npz", tmp_path / "set", kind, before_v3=before_v3)
    dataset = EpisodeDataset.open(tmp_path / "set")
    assert (
        dataset.summary()["format"] == f"LeRobotDataset {'v2.1' if before_v3 else 'v3.0'}"
        and dataset.fps == 20
    )
    for index, wanted in enumerate(EPISODES):
        read = dataset.episode(index)
        assert read.instruction == wanted.instruction
        np.testing.assert_array_equal(read.state, wanted.state)
        np.testing.assert_array_equal(read.action, wanted.action)
        images = columns["images"][columns["episode"] == index]
        np.testing.assert_allclose(
            read.images["front"].astype(int), images, atol=12 if kind == "video" else 0
        )
    assert [
        each for each in check(tmp_path / "set", every_frame=True) if each.severity == "error"
    ] == []


def test_robomimic_reads_what_we_write(source: Path, tmp_path: Path, run: Run) -> None:
    convert(source, tmp_path / "set.hdf5", format="robomimic")
    run("robomimic_read.py", tmp_path / "set.hdf5", tmp_path / "read.npz")
    columns = np.load(tmp_path / "read.npz")
    assert columns["lengths"].tolist() == [len(each) for each in EPISODES]
    low, high = (np.asarray(bound) for bound in ((-1.0, -2.0), (1.0, 2.0)))
    np.testing.assert_allclose(
        columns["actions"][:, 0], 2 * (together("action") - low) / (high - low) - 1, atol=1e-6
    )
    np.testing.assert_array_equal(columns["rewards"][:, 0], together("reward"))
    np.testing.assert_array_equal(columns["obs/state"][:, 0], together("state"))
    images = np.concatenate([each.images["front"] for each in EPISODES])
    np.testing.assert_array_equal(columns["obs/front_image"][:, 0], images)
    after = np.concatenate([np.concatenate([each.state[1:], each.state[-1:]]) for each in EPISODES])
    np.testing.assert_array_equal(columns["next_obs/state"][:, 0], after)


def test_minari_reads_what_we_write(source: Path, tmp_path: Path, run: Run) -> None:
    convert(source, tmp_path / "set", format="minari")
    run("minari_read.py", tmp_path / "set", tmp_path / "read.npz")
    columns = np.load(tmp_path / "read.npz")
    for index, wanted in enumerate(EPISODES):
        np.testing.assert_array_equal(columns[f"{index}/state"][:-1], wanted.state)
        np.testing.assert_array_equal(columns[f"{index}/front"][:-1], wanted.images["front"])
        np.testing.assert_array_equal(columns[f"{index}/actions"], wanted.action)
        np.testing.assert_array_equal(columns[f"{index}/rewards"], wanted.reward)
        assert columns[f"{index}/terminations"].sum() + columns[f"{index}/truncations"].sum() == 1


@pytest.mark.parametrize("storage", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("pixels", ["raw", "jpeg"])
def test_we_read_what_minari_writes(storage: str, pixels: str, tmp_path: Path, run: Run) -> None:
    rng, columns = np.random.default_rng(0), {}
    for index, wanted in enumerate(EPISODES):
        steps = len(wanted)
        columns[f"{index}/hand"] = rng.normal(size=(steps + 1, 3))
        columns[f"{index}/pixels"] = np.kron(
            wanted.images["front"], np.ones((1, 4, 4, 1), np.uint8)
        )[[*range(steps), -1]]
        columns[f"{index}/count"] = rng.integers(0, 5, steps + 1)
        columns[f"{index}/actions"], columns[f"{index}/rewards"] = (
            wanted.action.clip(-1, 1),
            wanted.reward,
        )
    np.savez(tmp_path / "episodes.npz", **columns)
    run("minari_write.py", tmp_path / "episodes.npz", tmp_path / "set", storage, pixels)
    dataset = EpisodeDataset.open(tmp_path / "set")
    for index in range(len(EPISODES)):
        read = dataset.episode(index)
        assert read.seed == index + 7 and read.success[-1] and not read.success[:-1].any()
        np.testing.assert_array_equal(read.action, columns[f"{index}/actions"])
        np.testing.assert_allclose(read.reward, columns[f"{index}/rewards"], atol=1e-6)
        state = np.concatenate(
            [columns[f"{index}/count"][:-1, None], columns[f"{index}/hand"][:-1]], axis=1
        )
        names = [name.partition("[")[0].partition(".")[0] for name in dataset.spec.state_names]
        order = [0, 1, 2, 3] if names[0] == "count" else [1, 2, 3, 0]
        np.testing.assert_allclose(read.state, state[:, order], atol=1e-6)
        images = columns[f"{index}/pixels"][:-1].astype(int)
        np.testing.assert_allclose(
            read.images["pixels"], images, atol=12 if pixels == "jpeg" else 0
        )
