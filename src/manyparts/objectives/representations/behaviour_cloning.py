"""Behaviour cloning of embeddings: to pretrain them, or as the policy that reads frozen ones."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.representation import Representation
from manyparts.objectives.base import Objective, require_numbers
from manyparts.objectives.configs import EmbeddingCloningConfig
from manyparts.objectives.representations.base import (
    FramePasses,
    action_dimension,
    action_mask,
    head,
)


class EmbeddingCloning(Objective, config=EmbeddingCloningConfig, model=Representation):
    """|| pi(phi(o_t)) - a_t ||^2 (BC)."""

    def __init__(self, config: EmbeddingCloningConfig, model: Representation):
        super().__init__()
        self.config = config
        self.head = head(model.embedding_dimension, action_dimension(model))

    def require_learnable(self, model: Representation) -> None:
        require_numbers(model.embodiments, "behaviour cloning of embeddings")

    def predict(self, passes: FramePasses) -> Float[Tensor, "b t n"]:
        """The actions at every step, from its frame only."""
        return self.decide(passes.embedded)

    def decide(self, embedded: Float[Tensor, "b t e"]) -> Float[Tensor, "b t n"]:
        """The chunk of actions after each frame, unclipped; the expert's lie in [-1, 1]."""
        return self.head(embedded)

    def forward(self, passes: FramePasses) -> Loss:
        # The action before noise is the target: noise is in the data to show how to recover from
        # errors, not to be imitated.
        error = (self.predict(passes).float() - passes.batch.expert_action.flatten(2)).square()
        return Loss(error, action_mask(passes.batch))
