"""What to do: the expert's next action, as a dynamics transformer tells it, which makes it a
policy."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.objectives.base import Objective, ObjectiveConfig
from manyparts.objectives.steps import TransformerPasses


@dataclass(frozen=True)
class NextActionConfig(ObjectiveConfig):
    """Settings of `NextAction`."""


class NextAction(Objective, config=NextActionConfig, model=DynamicsTransformer):
    """The square error of the expert's own action a_t, where noise was added to it, told from o_1,
    a_1, ..., o_t."""

    def __init__(self, config: NextActionConfig, model: DynamicsTransformer):
        super().__init__()
        if not model.config.policy:
            raise UserError("a dynamics model learns actions only with a policy; set model.policy")
        self.config = config

    def predict(self, passes: TransformerPasses) -> Float[Tensor, "b t a"]:
        """See `DynamicsTransformer.decide`."""
        return passes.decided

    def forward(self, passes: TransformerPasses) -> Loss:
        error = (self.predict(passes) - passes.batch.expert_action[:, :, 0]).square()
        return Loss(error, passes.batch.mask[..., None].expand_as(error))
