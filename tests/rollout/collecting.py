"""Collections that tests make, kill and compare, on two numpy tasks."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from manyparts.agents.expert import Noise
from manyparts.core.records import Episode
from manyparts.data.dataset import EpisodeDataset
from manyparts.envs.base import EnvConfig, Environment
from manyparts.rollout.collect import collect

TASKS = ("pointmass/reach", "pointmass/reach-left")
SMALL = EnvConfig(image_size=16)


def collect_small(
    output: Path, *, workers: int = 2, episodes: int = 6, seed: int = 0
) -> EpisodeDataset:
    return collect(
        TASKS,
        episodes=episodes,
        output=output,
        config=SMALL,
        noise=Noise(),
        seed=seed,
        workers=workers,
    )


def assert_replayed(env: Environment, episode: Episode) -> None:
    """Assert that the episode's actions give its frames again. env: has just begun it."""
    for step in range(len(episode)):
        observation = env.observe()
        np.testing.assert_array_equal(observation["state"], episode.state[step])
        for name, frames in episode.images.items():
            np.testing.assert_array_equal(observation["images"][name], frames[step])
        np.testing.assert_array_equal(env.expert_action(), episode.expert_action[step])
        reward, _, _, info = env.advance(episode.action[step])
        assert np.float32(reward) == episode.reward[step]
        assert info["success"] == episode.success[step]


def digest(folder: Path) -> dict[str, str]:
    """File name to hash of its content, for all files of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


if __name__ == "__main__":
    collect_small(Path(sys.argv[1]), workers=int(sys.argv[2]), episodes=int(sys.argv[3]))
