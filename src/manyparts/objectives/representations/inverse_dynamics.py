"""Inverse dynamics of embeddings: which actions were taken between two frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.representation import Representation
from manyparts.objectives.base import Objective, require_numbers, require_pairs
from manyparts.objectives.configs import EmbeddingInverseDynamicsConfig
from manyparts.objectives.representations.base import (
    FramePasses,
    action_dimension,
    action_mask,
    head,
)


class EmbeddingInverseDynamics(
    Objective, config=EmbeddingInverseDynamicsConfig, model=Representation
):
    """|| f(phi(o_t), phi(o_{t+1})) - a_t ||^2, with gradient through both embeddings (ID)."""

    def __init__(self, config: EmbeddingInverseDynamicsConfig, model: Representation):
        super().__init__()
        self.config = config
        self.head = head(2 * model.embedding_dimension, action_dimension(model))

    def require_learnable(self, model: Representation) -> None:
        require_pairs(model.steps, "inverse dynamics")
        require_numbers(model.embodiments, "inverse dynamics of embeddings")

    def predict(self, passes: FramePasses) -> Float[Tensor, "b u n"]:
        """The actions of all steps but the last, from the frames before and after them."""
        frames = passes.embedded
        return self.head(torch.cat([frames[:, :-1], frames[:, 1:]], dim=-1))

    def forward(self, passes: FramePasses) -> Loss:
        batch = passes.batch
        # The executed action, not the expert's: it is what moved the robot between the frames.
        error = (self.predict(passes).float() - passes.executed[:, :-1]).square()
        return Loss(error, action_mask(batch)[:, :-1] & batch.mask[:, 1:, None])
