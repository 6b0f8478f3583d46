"""What a run measures on data that it does not learn from."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from torch import Tensor

from manyparts.core.records import Batch
from manyparts.data.sampling.base import WindowSource
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.training.update import Learner

VALIDATION_BATCHES = 8


@runtime_checkable
class Validation(Protocol):
    """Measures a system as it is."""

    def measure(self, learner: Learner) -> dict[str, float]:
        """Return numbers for the metrics, such as validation/loss. The learner is as before."""
        ...

    def close(self) -> None:
        """Release what was opened."""
        ...


class HeldOutWindows:
    """Mean losses of held-out windows, which are always the same.

    Args:
        windows: Of the held-out episodes.
        info: The description of the run's checkpoints, with its embodiments.
        batch_size: Windows per batch.
    """

    def __init__(self, windows: WindowSource, info: CheckpointInfo, batch_size: int) -> None:
        self.windows, self.info, self.batch_size = windows, info, batch_size

    def measure(self, learner: Learner) -> dict[str, float]:
        """Return losses by names such as validation/loss.

        The weights are those that a checkpoint holds. Of several embodiments, each one's losses are
        added, under names such as validation/loss/arm.
        """
        size = min(self.batch_size, self.windows.num_windows)
        batches = min(VALIDATION_BATCHES, math.ceil(self.windows.num_windows / size))
        sums: dict[str, tuple[float, float]] = {}  # of each loss: its sum, and the sum of its mask
        with learner.averaged():
            for number in range(batches):
                batch = self.windows.batch(number, size)
                for name, loss in learner.evaluate(number, batch).items():
                    weight = loss.mask.float()
                    value = loss.value.float() * weight
                    for suffix, rows in self._rows_by_embodiment(batch).items():
                        total, count = sums.get(name + suffix, (0.0, 0.0))
                        sums[name + suffix] = (
                            total + float(value[rows].sum()),
                            count + float(weight[rows].sum()),
                        )
        return {
            f"validation/{name}": total / max(count, 1.0) for name, (total, count) in sums.items()
        }

    def close(self) -> None:
        """Close the windows."""
        self.windows.close()

    def _rows_by_embodiment(self, batch: Batch) -> dict[str, slice | Tensor]:
        """All rows of a batch under "", and those of each of several embodiments under "/name"."""
        rows: dict[str, slice | Tensor] = {"": slice(None)}
        if batch.embodiment is not None:
            for number, name in enumerate(self.info.embodiment_set.names):
                rows[f"/{name}"] = batch.embodiment == number
        return rows
