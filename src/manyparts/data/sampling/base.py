"""The interface that training draws batches from: one dataset, a stream, or a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Batch


class FixedSource:
    """What a source of fixed data answers to the verbs of one that grows: nothing is to be done."""

    def prepare(self, step: int, learner: Any) -> None:
        """See `WindowSource.prepare`."""

    def is_ready(self, step: int) -> bool:
        """See `WindowSource.is_ready`."""
        return True

    def state(self) -> dict[str, Any]:
        """See `WindowSource.state`."""
        return {}

    def after_save(self) -> None:
        """See `WindowSource.after_save`."""

    def progress(self) -> dict[str, float]:
        """See `WindowSource.progress`."""
        return {}

    def notes(self) -> list[str]:
        """See `WindowSource.notes`."""
        return []


@runtime_checkable
class WindowSource(Protocol):
    """Windows in an order that is a pure function of (seed, step)."""

    @property
    def num_windows(self) -> int:
        """How many windows can be drawn."""
        ...

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

    def prepare(self, step: int, learner: Any) -> None:
        """Collect what training step `step` needs, before its batch is drawn.

        Args:
            step: counted from 0.
            learner: the system as it is before the step, which acts.
        """
        ...

    def is_ready(self, step: int) -> bool:
        """Whether a step's batch may be drawn before `prepare`, since it has nothing to do."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the source: tensors and plain values."""
        ...

    def after_save(self) -> None:
        """Forget what only a run needs that resumes from an earlier checkpoint."""
        ...

    def progress(self) -> Mapping[str, float]:
        """Numbers of how far the source is, for the metrics; empty for fixed data."""
        ...

    def notes(self) -> Sequence[str]:
        """The same in words, for the progress bar; empty for fixed data."""
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
