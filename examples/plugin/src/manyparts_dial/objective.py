"""State change: how far the state moves until the next observation."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.control_transformer import ControlTransformer
from manyparts.nn.mlp import mlp
from manyparts.objectives.base import Objective, Passes
from manyparts_dial.config import StateChangeConfig


class StateChange(Objective, config=StateChangeConfig, model=ControlTransformer):
    """|| f(o_1, a_1, ..., o_t, a_t) - (s_{t+1} - s_t) ||^2, of normalised states s."""

    def __init__(self, config: StateChangeConfig, model: ControlTransformer):
        super().__init__()
        dimension = max(spec.state_dimension for spec in model.embodiments.specs)
        self.head = mlp([model.config.width, config.hidden, dimension])

    def predict(self, passes: Passes) -> Float[Tensor, "b t s"]:
        """The change after every step."""
        # Under causal attention an action's token has seen all steps until its own, none later.
        return self.head(passes.decoded("causal").action)

    def forward(self, passes: Passes) -> Loss:
        batch = passes.batch
        change = batch.state[:, 1:] - batch.state[:, :-1]
        error = (self.predict(passes)[:, :-1].float() - change).square()
        # Both states must be real, and an embodiment may have fewer numbers than another.
        real = batch.mask[:, 1:] & batch.mask[:, :-1]
        return Loss(error, real[:, :, None] & batch.state_mask[:, None, :])
