"""The expert's next action, predicted by a dynamics transformer, which makes it a policy."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.objectives.base import Objective, require_numbers
from manyparts.objectives.configs import NextActionConfig
from manyparts.objectives.steps import TransformerPasses


class NextAction(Objective, config=NextActionConfig, model=DynamicsTransformer):
    """|| f(o_1, a_1, ..., o_t) - a_t ||^2, with a_t the expert's action before noise was added."""

    def __init__(self, config: NextActionConfig, model: DynamicsTransformer):
        super().__init__()
        if not model.config.policy:
            raise UserError(
                "model.policy is False, so the model predicts no actions; set it to True"
            )
        self.config = config

    def require_learnable(self, model: DynamicsTransformer) -> None:
        require_numbers(model.embodiments, "a dynamics transformer's policy")

    def predict(self, passes: TransformerPasses) -> Float[Tensor, "b t a"]:
        """See `DynamicsTransformer.decide`."""
        return passes.policy_action

    def forward(self, passes: TransformerPasses) -> Loss:
        error = (self.predict(passes) - passes.batch.expert_action[:, :, 0]).square()
        return Loss(error, passes.batch.mask[..., None].expand_as(error))
