"""What training draws batches from, whatever lies behind: one dataset, a stream, or a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from manyparts.core.records import Batch


@runtime_checkable
class WindowSource(Protocol):
    """Windows in an order that is a pure function of (seed, step)."""

    num_windows: int

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """The part of training step `step`'s batch that this rank trains on.

        Raises:
            UserError: the ranks cannot share a batch equally.
        """
        ...

    def fractions(self, step: int, batch_size: int) -> Mapping[str, float]:
        """The part of a step's batch that each of several datasets gives, by its name."""
        ...

    def epochs(self, drawn: int) -> Mapping[str, float]:
        """How often the windows were gone through once so many are drawn; of several datasets, each
        one's under its name."""
        ...

    def describe(self, window: int) -> str:
        """Where a window, named as in `Batch.window`, comes from, for people."""
        ...

    def close(self) -> None:
        """Let go of files and threads."""
        ...
