"""The interface that training draws batches from: one dataset, a stream, or a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Batch


@runtime_checkable
class WindowSource(Protocol):
    """Windows in an order that is a pure function of (seed, step)."""

    num_windows: int

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """The part of training step `step`'s batch that this rank trains on.

        Args:
            step: counted from 0.
            batch_size: windows of all ranks together.
            rank: in [0, world_size).
            world_size: how many ranks share the batch.

        Raises:
            UserError: the ranks cannot share a batch equally.
        """
        ...

    def fractions(self, step: int, batch_size: int) -> Mapping[str, float]:
        """The fraction of a step's batch that each of several datasets gives.

        Args:
            step: counted from 0.
            batch_size: windows of all ranks together.

        Returns:
            The fractions by the name of the dataset's embodiment; empty for one dataset.
        """
        ...

    def epochs(self, drawn: int) -> Mapping[str, float]:
        """How many times the first `drawn` windows go through all. For one dataset its name is
        empty; for several, each has "/" and the name of its embodiment."""
        ...

    def describe(self, window: int) -> str:
        """The episode and frames of a window, for people. window: as in `Batch.window`."""
        ...

    def close(self) -> None:
        """Release files and threads."""
        ...


def part_of_rank(batch_size: int, rank: int, world_size: int) -> np.ndarray:
    """The indices in a batch of a rank's equal part: int64 (batch_size / world_size,).

    Args:
        batch_size: windows of all ranks together.
        rank: in [0, world_size).
        world_size: how many ranks share the batch.

    Raises:
        UserError: the ranks cannot share a batch equally.
    """
    if batch_size % world_size:
        raise UserError(f"batch size {batch_size} does not divide among {world_size} processes")
    size = batch_size // world_size
    return np.arange(rank * size, (rank + 1) * size)
