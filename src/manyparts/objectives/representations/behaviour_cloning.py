"""Behaviour cloning of embeddings: to pretrain them, or as the policy that reads frozen ones."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.representation import Representation
from manyparts.objectives.base import Objective, ObjectiveConfig
from manyparts.objectives.representations.base import (
    FramePasses,
    action_dimension,
    action_mask,
    head,
)


@dataclass(frozen=True)
class EmbeddingCloningConfig(ObjectiveConfig):
    """Imitation of `expert_action`, which under noise is not the action that was executed."""


class EmbeddingCloning(Objective, config=EmbeddingCloningConfig, model=Representation):
    """|| pi(phi(o_t)) - a_t ||^2 (BC)."""

    def __init__(self, config: EmbeddingCloningConfig, model: Representation):
        super().__init__()
        self.config = config
        self.head = head(model.embedding_dimension, action_dimension(model))

    def predict(self, passes: FramePasses) -> Float[Tensor, "b t n"]:
        """The actions of every step from its frame alone."""
        return self.decide(passes.embedded)

    def decide(self, embedded: Float[Tensor, "b t e"]) -> Float[Tensor, "b t n"]:
        """The chunk of actions after each frame, in [-1, 1] where the expert's are."""
        return self.head(embedded)

    def forward(self, passes: FramePasses) -> Loss:
        error = (self.predict(passes).float() - passes.batch.expert_action.flatten(2)).square()
        return Loss(error, action_mask(passes.batch))
