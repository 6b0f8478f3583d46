"""Small folders of .npz. The numbers say which episode, step and dimension they are of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.data.dataset import EpisodeDataset

LENGTHS = (6, 5, 4)
SIDE = 12
Arrays = dict[str, Any]


def values(number: int, width: int, rows: int = 0) -> np.ndarray:
    """Which episode, step and dimension."""
    return 100.0 * number + np.arange(rows or LENGTHS[number])[:, None] + np.arange(width) / 8


def episode(number: int, **more: Any) -> Arrays:
    plain = {
        "q": values(number, 3),
        "action": values(number, 2) / 1000,
        "sentence": np.array("lift"),
    }
    return plain | more


def images(number: int, dtype: Any = np.uint8, channels: int = 3, rows: int = 0) -> np.ndarray:
    steps = rows or LENGTHS[number]
    shades = (20 * number + np.arange(steps))[:, None, None, None]
    return np.broadcast_to(shades, (steps, SIDE, SIDE, channels)).astype(dtype)


def write(folder: Path, make: Callable[[int], Arrays]) -> Path:
    folder.mkdir()
    for number in range(len(LENGTHS)):
        np.savez(folder / f"ep_{number}.npz", **make(number))
    return folder


def require_right(dataset: EpisodeDataset, wanted: tuple[int, ...] = (0, 1, 2)) -> None:
    """The state and action of these episodes, and nothing else."""
    assert dataset.num_episodes == len(wanted)
    for index, number in enumerate(wanted):
        read = dataset.episode(index)
        np.testing.assert_allclose(read.state, values(number, 3), rtol=1e-6)
        np.testing.assert_allclose(read.action, values(number, 2) / 1000, rtol=1e-6)
