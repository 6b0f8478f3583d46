"""Datasets of other projects open in place, and hold what was written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data.formats import foreign
from data.formats.foreign import INSTRUCTIONS, LENGTHS, SIZE, episodes

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows

WRITERS: dict[str, Callable[[Path], Path]] = {
    "robomimic": lambda path: foreign.robomimic(path.with_suffix(".hdf5")),
    "npz": foreign.npz,
    "minari": foreign.minari,
    "minari-jpeg": lambda path: foreign.minari(path, jpeg=True),
    "minari-arrow": lambda path: foreign.minari_arrow(path, "arrow"),
    "minari-parquet": lambda path: foreign.minari_arrow(path, "parquet", jpeg=True),
    "rlds": foreign.rlds,
    "lerobot-2.0": lambda path: foreign.lerobot_v2(path, "v2.0"),
    "lerobot-2.1": lambda path: foreign.lerobot_v2(path, "v2.1"),
}
TELLS_INSTRUCTIONS = {"robomimic", "npz", "rlds", "lerobot-2.0", "lerobot-2.1"}
JPEG = {"minari-jpeg", "minari-parquet"}
TELLS_SUCCESS = {"robomimic", "npz", "minari", "minari-jpeg", "minari-arrow", "minari-parquet"}


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def dataset(name: str, tmp_path: Path) -> EpisodeDataset:
    return EpisodeDataset.open(WRITERS[name](tmp_path / "set"))


def test_episodes_hold_what_was_written(name: str, dataset: EpisodeDataset) -> None:
    assert dataset.num_episodes == len(LENGTHS) and np.diff(dataset.starts).tolist() == list(
        LENGTHS
    )
    assert len(dataset.spec.state_names) == 4 and list(dataset.spec.cameras.values()) == [
        (SIZE, SIZE)
    ]
    for index, (wanted, length) in enumerate(zip(episodes(), LENGTHS, strict=True)):
        read = dataset.episode(index)
        state = np.concatenate([wanted["gripper"][:length, None], wanted["hand"][:length]], axis=1)
        np.testing.assert_allclose(read.state, state, atol=1e-6)
        np.testing.assert_array_equal(read.action, wanted["action"])
        (images,) = read.images.values()
        if name in JPEG:
            assert (
                np.abs(images.astype(int) - wanted["picture"][:length]).mean() < 50
            )  # noise, as JPEG
        else:
            np.testing.assert_array_equal(images, wanted["picture"][:length])
        if not name.startswith("lerobot"):
            np.testing.assert_array_equal(read.reward, wanted["reward"])
        if name in TELLS_SUCCESS:
            np.testing.assert_array_equal(read.success, wanted["success"])
        if name in TELLS_INSTRUCTIONS:
            assert read.instruction == INSTRUCTIONS[index]


def test_rewards_of_two_columns_are_refused(tmp_path: Path) -> None:
    folder = foreign.npz(tmp_path / "set")
    for number, episode in enumerate(episodes()):
        rows = {name: values[: LENGTHS[number]] for name, values in episode.items()}
        np.savez(
            folder / f"episode_{number:03d}.npz",
            **rows | {"reward": np.stack([rows["reward"]] * 2, axis=1)},
        )
    with pytest.raises(
        UserError,
        match=r"episode_000.npz: reward has shape \(\d+, 2\); expected one number per step",
    ):
        EpisodeDataset.open(folder)


def test_rewards_of_two_columns_refused(
    dataset: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For formats that read numbers only then."""
    whole = dataset.columns(1)
    monkeypatch.setattr(
        dataset.reader, "columns", lambda _: whole | {"next.reward": np.zeros((LENGTHS[1], 2))}
    )
    for read in (dataset.rewards, dataset.episode):
        with pytest.raises(
            UserError,
            match=r"next.reward of episode 1 has shape \(\d+, 2\); expected one number per step",
        ):
            read(1)


def test_statistics_are_those_of_all_rows(dataset: EpisodeDataset) -> None:
    actions = np.concatenate([episode["action"] for episode in episodes()])
    statistics = dataset.statistics["action"]
    np.testing.assert_allclose(statistics.mean, actions.mean(0), atol=1e-6)
    np.testing.assert_allclose(statistics.std, actions.std(0), atol=1e-6)


def test_windows_are_drawn_in_place(dataset: EpisodeDataset, tmp_path: Path) -> None:
    other = pickle.loads(pickle.dumps(dataset))
    assert other.fingerprint == dataset.fingerprint
    batch = Windows(
        other, FrameCache.open(other, tmp_path / "cache"), WindowConfig(2, 2), seed=0
    ).batch(0, 8)
    assert batch.action[batch.chunk_mask].abs().max() <= 1.001
    assert dataset.summary()["episodes"] == len(LENGTHS)


def test_stored_rate_robot_and_bounds(tmp_path: Path) -> None:
    arm = EpisodeDataset.open(foreign.robomimic(tmp_path / "lift.hdf5"))
    assert arm.fps == 25 and arm.spec.embodiment == "Panda" and arm.spec.action.low == (-1.0, -1.0)
    assert list(arm.summary()["left_out"]) == ["agentview_depth"] and list(arm.spec.cameras) == [
        "agentview"
    ]
    toy = EpisodeDataset.open(foreign.minari(tmp_path / "minari"))
    assert toy.spec.action.high == (1.0, 2.0) and [toy.seed(index) for index in range(3)] == [
        40,
        41,
        42,
    ]
