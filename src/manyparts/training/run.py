"""One run, as every process that trains it sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.embodiment.views.view import View
from manyparts.training import checkpoint
from manyparts.training.config import TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.inputs import Sources


@dataclass(frozen=True)
class Run:
    """What is trained, on what data, where, from which weights and among how many processes."""

    config: TrainConfig
    """The preset, with the user's changes."""

    sources: Sources
    """The datasets, with their weights."""

    output: Path
    """The run's folder."""

    origin: Path | None
    """The checkpoint of another run that this one starts from; None for its own initial weights."""

    device: torch.device
    """What this process computes on."""

    ranks: Ranks
    """This process's rank among those that share each batch."""

    track: str | None = None
    """What rank 0 sends its metrics to, apart from TensorBoard."""

    def last_checkpoint(self) -> Path | None:
        """The checkpoint to resume from; None before the first."""
        return checkpoint.last(self.output)

    def assignment(self) -> dict[str, Any]:
        """What other processes need to train the same run, as JSON values."""
        return {
            "config": to_jsonable(self.config),
            "data": self.sources.locations,
            "weights": self.sources.weights,
            "embodiment": self.sources.embodiment,
            "views": [view and view.to_dict() for view in self.sources.views],
            "output": str(self.output.resolve()),
            "origin": self.origin and str(self.origin.resolve()),
        }

    @classmethod
    def assigned(cls, assignment: Mapping[str, Any], device: torch.device, ranks: Ranks) -> Run:
        """The inverse of `assignment`, in another process.

        Args:
            assignment: what rank 0 sent, as JSON values.
            device: what this process computes on.
            ranks: this process's rank.

        Raises:
            UserError: a dataset cannot be opened.
        """
        return cls(
            config=from_jsonable(TrainConfig, assignment["config"]),
            sources=Sources.open(
                assignment["data"],
                assignment["weights"],
                embodiment=assignment["embodiment"],
                views=[values and View.of(values) for values in assignment["views"]],
            ),
            output=Path(assignment["output"]),
            origin=assignment["origin"] and Path(assignment["origin"]),
            device=device,
            ranks=ranks,
        )
