"""A small dataset of the point mass, and the flags of a small prediction."""

from __future__ import annotations

from pathlib import Path

from manyparts.data.dataset import EpisodeDataset
from manyparts.envs.base import EnvConfig
from manyparts.rollout.collect import collect

CONFIG = EnvConfig(image_size=16, state="full")


def collected(folder: Path, episodes: int) -> EpisodeDataset:
    return collect(
        ["pointmass/reach"],
        episodes=episodes,
        output=folder,
        config=CONFIG,
        steps_after_success=60,
    )


def few_windows(data: EpisodeDataset, output: Path) -> list[str]:
    """Flags of `manyparts predict`."""
    return [
        "--data",
        str(data.path),
        "--horizons",
        "1",
        "3",
        "--windows",
        "4",
        "--output",
        str(output),
    ]
