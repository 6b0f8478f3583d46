"""Goals by seed: the split that a goal belongs to, and the generator that draws it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from manyparts.envs.base import Split

CELL_METRES = 0.005
# How many of ten neighbouring cells in a row each split gets. Their hash decides which.
SPLITS_OF_TEN_CELLS: tuple[Split, ...] = ("train",) * 7 + ("validation",) + ("evaluation",) * 2


def episode_generator(task: str, split: Split, seed: int) -> np.random.Generator:
    """The random generator of one episode: equal arguments, equal numbers, in every process.

    Args:
        task: "suite/task".
        split: the split that the episode's goal is drawn from.
        seed: the episode's seed.
    """
    # Not Python's `hash`, which differs between processes.
    digest = hashlib.sha256(f"{task}\0{split}\0{seed}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def split_of(task: str, goal: Sequence[float] | np.ndarray) -> Split:
    """The split that a goal belongs to.

    Goal space is cut into cells of 5 mm, and each cell belongs to one split.

    Args:
        task: "suite/task"; the assignment differs between tasks.
        goal: the coordinates that vary, in metres.
    """
    # Cells along the last axis are dealt out in tens, so that each ten has exactly the fractions of
    # `SPLITS_OF_TEN_CELLS`, also where goals lie on a short line. Ten bytes of the hash, sorted,
    # give the order in which the cells are dealt.
    *others, along = np.floor(np.asarray(goal, np.float64) / CELL_METRES).astype(int).tolist()
    ten, cell = divmod(along, len(SPLITS_OF_TEN_CELLS))
    digest = hashlib.sha256(f"{task}\0{others}\0{ten}".encode()).digest()
    order = sorted(range(len(SPLITS_OF_TEN_CELLS)), key=digest.__getitem__)
    return SPLITS_OF_TEN_CELLS[order[cell]]
