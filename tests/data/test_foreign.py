"""Datasets that others wrote in the same layout open too, as far as they tell what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.synthetic import FPS, make_episode, make_spec, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset, append
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows

EPISODES = [make_episode(seed, 6 + seed) for seed in range(3)]
OURS = ("expert_action", "next.success", "next.done", "next.reward")


@pytest.fixture
def foreign(tmp_path: Path) -> EpisodeDataset:
    """Our dataset without what only manyparts writes, in row groups that cut through episodes,
    with images declared channels first."""
    path = write(tmp_path / "set", EPISODES).path
    info = json.loads((path / "meta/info.json").read_text())
    del info["manyparts"]
    info["robot_type"], info["anything"] = "arm", {"else": 1}
    info["features"] = {name: item for name, item in info["features"].items() if name not in OURS}
    info["features"]["action"]["names"] = {"motors": ["shoulder", "elbow"]}
    info["features"]["observation.state"]["names"] = None
    info["features"]["observation.images.front"] |= {
        "shape": [3, 16, 16],
        "names": ["channels", "height", "width"],
    }
    (path / "meta/info.json").write_text(json.dumps(info))
    rewrite(path / "data/chunk-000/file-000.parquet", OURS, row_group_size=4)
    own_columns = ("seed", "noisy", "task_index", "stats/next.success/max")
    rewrite(path / "meta/episodes/chunk-000/file-000.parquet", own_columns, row_group_size=100)
    return EpisodeDataset.open(path)


def rewrite(file: Path, without: tuple[str, ...], row_group_size: int) -> None:
    pq.write_table(
        pq.read_table(file).drop_columns(list(without)), file, row_group_size=row_group_size
    )


def test_spec_is_derived_from_data(foreign: EpisodeDataset) -> None:
    spec = foreign.spec
    actions = np.concatenate(
        [each for episode in EPISODES for each in (episode.action, episode.expert_action)]
    )
    assert spec.embodiment == "arm" and spec.cameras == {"front": (16, 16)}
    assert spec.state_names == ("state_0", "state_1", "state_2")
    assert spec.action.names == ("shoulder", "elbow") and spec.action.representation == "unknown"
    assert spec.action.measured
    np.testing.assert_allclose(spec.action.low, actions.min(0), atol=1e-6)
    np.testing.assert_allclose(spec.action.high, actions.max(0), atol=1e-6)
    assert spec.action.control_rate_hz == FPS and foreign.environment == {}
    assert [task.name for task in foreign.tasks] == ["unknown/0", "unknown/1"]


def test_episodes_are_read_across_row_groups(foreign: EpisodeDataset) -> None:
    for index, expected in enumerate(EPISODES):
        read = foreign.episode(index)
        assert read.instruction == expected.instruction and read.seed == -1
        np.testing.assert_array_equal(read.images["front"], expected.images["front"])
        np.testing.assert_array_equal(read.state, expected.state)
        np.testing.assert_array_equal(read.expert_action, expected.action)
        assert not read.reward.any() and not read.success.any()
    assert foreign.summary()["tasks"][0]["success"] is None


def test_windows_are_drawn_from_it(foreign: EpisodeDataset, tmp_path: Path) -> None:
    windows = Windows(
        foreign, FrameCache.open(foreign, tmp_path / "cache"), WindowConfig(2, 2), seed=0
    )
    batch = windows.batch(0, 8)
    assert batch.action[batch.chunk_mask].abs().max() <= 1.001


def test_it_cannot_be_appended_to(foreign: EpisodeDataset) -> None:
    with pytest.raises(UserError, match="not written by manyparts"):
        append(foreign.path, make_spec(), fps=FPS, tasks=(), environment={})
