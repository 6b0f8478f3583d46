"""Inverse dynamics: which action led from one observation to the next (DualMind, phase I)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.control_transformer import ControlTransformer
from manyparts.objectives.base import (
    Objective,
    Passes,
    action_head,
    action_loss,
    action_mask,
    require_pairs,
)
from manyparts.objectives.configs import InverseDynamicsConfig


class InverseDynamics(Objective, config=InverseDynamicsConfig, model=ControlTransformer):
    """The executed actions between steps t and t + 1, from the outputs at both.

    The attention pattern hides these actions from the outputs.
    """

    def __init__(self, config: InverseDynamicsConfig, model: ControlTransformer):
        super().__init__()
        self.config = config
        # "inverse" also reads the state's token, and the head reads two steps.
        tokens = model.visual_tokens + (config.attention == "inverse")
        self.head = action_head(model, 2 * tokens * model.config.width, config.hidden)

    def require_learnable(self, model: ControlTransformer) -> None:
        require_pairs(model.steps, "inverse dynamics")

    def predict(self, passes: Passes) -> Float[Tensor, "b u k a v"]:
        """Parameters of the actions of steps 0 to t - 2."""
        outputs = passes.decoded(self.config.attention)
        tokens = outputs.visual if self.config.attention == "visual" else outputs.observation
        steps = rearrange(tokens, "b t o d -> b t (o d)")
        pairs = torch.cat([steps[:, :-1], steps[:, 1:]], dim=-1)
        return self.head(pairs, passes.batch.embodiment)

    def forward(self, passes: Passes) -> Loss:
        batch = passes.batch
        # Without a real step after it, an action cannot be inferred.
        mask = action_mask(batch, slice(0, -1)) & batch.mask[:, 1:, None, None]
        return action_loss(self.head, self.predict(passes), batch.action[:, :-1], mask, batch)
