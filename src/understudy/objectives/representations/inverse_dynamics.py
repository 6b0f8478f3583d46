"""Inverse dynamics of embeddings: which action was taken between two frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.models.representation import Representation
from understudy.objectives.base import Objective
from understudy.objectives.representations.base import FramePasses, action_dimension, action_mask, head
from understudy.types import Loss, UserError


@dataclass(frozen=True)
class EmbeddingInverseDynamicsConfig:
    """steps: frames between the two, of which the first one's action is asked for."""

    weight: float = 1.0
    steps: int = 1


class EmbeddingInverseDynamics(Objective):
    """|| f(phi(o_t), phi(o_{t+n})) - a_t ||^2, the same phi on both sides, with gradient through both (ID)."""

    def __init__(self, config: EmbeddingInverseDynamicsConfig, model: Representation):
        super().__init__()
        if not 1 <= config.steps < model.steps:
            raise UserError(
                f"inverse dynamics over {config.steps} steps needs a window of {config.steps + 1}; it has {model.steps}"
            )
        self.config = config
        self.head = head(2 * model.embedding_dimension, action_dimension(model))

    def predict(self, passes: FramePasses) -> Float[Tensor, "b u n"]:
        """The actions of all steps but the last n, from the two frames alone."""
        seen, n = passes.embedded, self.config.steps
        return self.head(torch.cat([seen[:, :-n], seen[:, n:]], dim=-1))

    def forward(self, passes: FramePasses) -> Loss:
        n, batch = self.config.steps, passes.batch
        error = (self.predict(passes).float() - passes.executed[:, :-n]).square()
        return Loss(error, action_mask(batch)[:, :-n] & batch.mask[:, n:, None])
