"""Goals by seed: which goals belong to which split, and the generator that draws an episode's
goal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from manyparts.envs.base import Split

CELL_METRES = 0.005
# Every ten neighbouring cells in a row are shared out so, in an order that their hash decides.
SHARES: tuple[Split, ...] = ("train",) * 7 + ("validation",) + ("evaluation",) * 2


def episode_generator(task: str, split: Split, seed: int) -> np.random.Generator:
    """The random numbers of one episode, a pure function of the arguments, the same in every
    process."""
    digest = hashlib.sha256(f"{task}\0{split}\0{seed}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def split_of(task: str, goal: Sequence[float] | np.ndarray) -> Split:
    """The split that owns a goal: goal space is cut into cells and each belongs to one split, so
    that goals of two splits never share a cell. goal: the coordinates that vary, in metres."""
    *others, along = np.floor(np.asarray(goal, np.float64) / CELL_METRES).astype(int).tolist()
    row, place = divmod(along, len(SHARES))
    digest = hashlib.sha256(f"{task}\0{others}\0{row}".encode()).digest()
    order = sorted(range(len(SHARES)), key=digest.__getitem__)
    return SHARES[order[place]]
