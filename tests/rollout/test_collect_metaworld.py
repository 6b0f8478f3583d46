"""Collection in the real simulator: what was recorded happens again when its actions are
replayed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rollout.collecting import assert_replayed, digest

from manyparts.data.dataset import EpisodeDataset
from manyparts.envs.base import EnvConfig
from manyparts.envs.registry import make, steps_after_success
from manyparts.rollout.collect import collect

pytestmark = pytest.mark.skipif(find_spec("metaworld") is None, reason="metaworld is not installed")

TASKS = ("metaworld/reach", "metaworld/door-open")
CONFIG = EnvConfig(image_size=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return collect(
        TASKS,
        episodes=2,
        output=tmp_path_factory.mktemp("collected") / "data",
        config=CONFIG,
        workers=2,
    )


@pytest.mark.parametrize("index", range(4))
@pytest.mark.slow
def test_replayed_actions_give_equal_frames(dataset: EpisodeDataset, index: int) -> None:
    """Observation t, then action t; in an environment that has run another episode before."""
    episode = dataset.episode(index)
    env = make(episode.task, CONFIG)
    env.reset(seed=episode.seed + 1)
    env.begin(episode.seed)
    assert_replayed(env, episode)
    assert episode.success.tolist().index(True) == len(episode) - 1 - steps_after_success(TASKS)
    env.close()


def test_noisy_and_clean_actions_are_recorded(dataset: EpisodeDataset) -> None:
    apart = [
        np.abs(dataset.episode(index).action - dataset.episode(index).expert_action).max()
        for index in range(4)
    ]
    assert sum(distance > 0.1 for distance in apart) == 2
    assert sum(distance == 0 for distance in apart) == 2


@pytest.mark.slow
def test_worker_count_changes_no_byte(dataset: EpisodeDataset, tmp_path: Path) -> None:
    collect(TASKS, episodes=2, output=tmp_path / "data", config=CONFIG, workers=1)
    assert digest(tmp_path / "data") == digest(dataset.path)
