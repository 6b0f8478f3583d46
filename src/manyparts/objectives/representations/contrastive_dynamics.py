"""Implicit forward dynamics: from a frame and an action, choose the next one of many frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.representation import Representation
from manyparts.nn.mlp import mlp
from manyparts.objectives.base import Objective, require_pairs
from manyparts.objectives.configs import ContrastiveDynamicsConfig
from manyparts.objectives.representations.base import FramePasses, action_dimension, head, info_nce


class ContrastiveDynamics(Objective, config=ContrastiveDynamicsConfig, model=Representation):
    """InfoNCE of f(phi(o_t), e(a_t)) against phi(o_{t+1}) among the batch's next frames (implicit
    FD)."""

    def __init__(self, config: ContrastiveDynamicsConfig, model: Representation):
        super().__init__()
        self.config = config
        width = model.embedding_dimension
        self.action = mlp([action_dimension(model), width])
        self.head = head(2 * width, width)

    def require_learnable(self, model: Representation) -> None:
        require_pairs(model.steps, "contrastive dynamics")

    def predict(self, passes: FramePasses) -> Float[Tensor, "b u e"]:
        """The next frames' embeddings, from the frames before and their actions."""
        before = torch.cat([passes.embedded, self.action(passes.executed)], dim=-1)
        return self.head(before[:, :-1])

    def forward(self, passes: FramePasses) -> Loss:
        batch = passes.batch
        real = batch.mask[:, :-1] & batch.mask[:, 1:]
        # Windows and steps become rows: other steps of the same window are wrong answers, too. They
        # are the hardest, since only the action tells them apart. Keys take gradient as well.
        queries, keys = self.predict(passes).flatten(0, 1), passes.embedded[:, 1:].flatten(0, 1)
        losses = info_nce(queries, keys, real.flatten(), self.config.temperature)
        return Loss(losses.view(real.shape), real)
