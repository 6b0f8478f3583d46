"""The passes of a taught world: the agent's own windows, and those of its sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Batch
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.models.dynamics.teachers import SURPRISE, TAUGHT
from manyparts.objectives.world import WorldPasses


@dataclass
class TaughtPasses(WorldPasses):
    """A batch's way through a taught world.

    The world is learned from the agent's own windows, and from those of sources if it rehearses.
    Teachers take no part: what they made of each step was recorded when it was taken.
    """

    model: TaughtWorld  # pyright: ignore[reportIncompatibleVariableOverride], never assigned

    of_sources: Batch | None = field(init=False, default=None)
    """The windows of sources; None if there are none."""

    def __post_init__(self) -> None:
        source = self.batch.source
        if source is None or not (source >= 0).any():
            return
        rows = torch.arange(len(self.batch))
        is_of_source = (source >= 0).cpu()
        self.of_sources = self.batch.rows(rows[is_of_source])
        if not self.model.config.rehearse:
            self.batch = self.batch.rows(rows[~is_of_source])

    @property
    def taught(self) -> Float[Tensor, "b t k f"]:
        """The teachers' features at each step of the agent's windows."""
        return self.batch.recorded[TAUGHT]

    @cached_property
    def relevance(self) -> Float[Tensor, "b t k"]:
        """How much each teacher counts at each step."""
        surprise = self.batch.recorded[SURPRISE]
        return self.model.relevance(self.filtered.features, self.taught, surprise)
