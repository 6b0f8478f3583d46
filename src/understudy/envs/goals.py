"""Goals by seed: which goals belong to which split, and the generator that draws an episode's goal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from understudy.envs.base import Split

CELL_METRES = 0.005
SHARES: dict[Split, float] = {"train": 0.7, "validation": 0.1, "evaluation": 0.2}


def episode_generator(task: str, split: Split, seed: int) -> np.random.Generator:
    """The random numbers of one episode, a pure function of the arguments, the same in every process."""
    digest = hashlib.sha256(f"{task}\0{split}\0{seed}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def split_of(task: str, goal: Sequence[float] | np.ndarray) -> Split:
    """The split that owns a goal: goal space is cut into 5 mm cells and a cell's hash decides, so no two splits
    ever meet in a cell. goal: the coordinates that vary, in metres."""
    cell = np.floor(np.asarray(goal, np.float64) / CELL_METRES).astype(int).tolist()
    digest = hashlib.sha256(f"{task}\0{cell}".encode()).digest()
    point = int.from_bytes(digest[:8], "little") / 2**64
    for split, share in SHARES.items():
        point -= share
        if point < 0:
            return split
    return "evaluation"
