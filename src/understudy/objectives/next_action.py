"""What to do: the cross-entropy of the expert's next action under a dynamics transformer, which makes it a policy."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from understudy.models.dynamics_transformer import DynamicsTransformer
from understudy.objectives.base import Objective
from understudy.objectives.next_step import cross_entropy
from understudy.objectives.steps import TransformerPasses
from understudy.types import Loss, UserError


@dataclass(frozen=True)
class NextActionConfig:
    """deviation: as in `NextStepConfig`."""

    weight: float = 1.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if self.deviation <= 0:
            raise UserError(f"deviation {self.deviation} is not positive")


class NextAction(Objective):
    """-log p(a_t | o_1, a_1, ..., o_t), number by number, of the expert's own action where noise was added to it."""

    def __init__(self, config: NextActionConfig, model: DynamicsTransformer):
        super().__init__()
        if not model.config.policy:
            raise UserError("a dynamics model learns actions only with a policy; set model.policy")
        self.config = config

    def predict(self, passes: TransformerPasses) -> Float[Tensor, "b t a bins"]:
        """See `DynamicsTransformer.decide`."""
        return passes.decided

    def forward(self, passes: TransformerPasses) -> Loss:
        model, logits, wanted = passes.model, self.predict(passes), passes.batch.expert_action[:, :, 0]
        loss = cross_entropy(model, logits.float(), wanted, self.config.deviation)
        real = passes.batch.mask[..., None].expand_as(wanted)
        error = (model.expected(logits.detach()) - wanted).square()
        return Loss(loss, real, {"square_error": error[real].mean()})
