"""What comes next: the cross-entropy of the next observation and of the reward under a dynamics transformer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from understudy.models.dynamics_transformer import DynamicsTransformer
from understudy.objectives.base import Objective
from understudy.objectives.steps import StepPasses
from understudy.types import Loss, UserError


@dataclass(frozen=True)
class NextStepConfig:
    """deviation: of targets that are spread over neighbouring bins, in bins, where the model is soft. actions: weight
    of predicting actions too, which makes the model a policy; only where it predicts one number after the other."""

    weight: float = 1.0
    deviation: float = 1.0
    actions: float = 0.0

    def __post_init__(self) -> None:
        if self.deviation <= 0:
            raise UserError(f"deviation {self.deviation} is not positive")
        if self.actions < 0:
            raise UserError(f"weight {self.actions} of actions is negative")


class NextStep(Objective):
    """-log p(o_{t+1}, r_t | o_1, a_1, ..., o_t, a_t), number by number (TDM); of all at once, o_{t+1} - o_t."""

    def __init__(self, config: NextStepConfig, model: DynamicsTransformer):
        super().__init__()
        if config.actions and model.config.decoding == "parallel":
            raise UserError("a model that predicts all numbers at once has no place for actions; set actions to 0")
        self.config = config

    def predict(self, passes: StepPasses[DynamicsTransformer]) -> Float[Tensor, "b t m bins"]:
        """See `DynamicsTransformer.forward`."""
        return passes.model(_values(passes), passes.batch.mask)

    def forward(self, passes: StepPasses[DynamicsTransformer]) -> Loss:
        model, logits = passes.model, self.predict(passes)
        values, real = _values(passes), self._counts(passes)
        s = model.observed
        if model.config.decoding == "parallel":
            told = torch.cat([logits[:, :-1, :s].flatten(1, 2), logits[:, :, -1]], dim=1)
            changes = values[:, 1:, :s] - values[:, :-1, :s]
            wanted = torch.cat([changes.flatten(1), values[:, :, -1]], dim=1)
            weight = torch.cat([real[:, 1:, :s].flatten(1), real[:, :, -1]], dim=1)
        else:
            told, wanted, weight = logits.flatten(1, 2)[:, :-1], values.flatten(1)[:, 1:], real.flatten(1)[:, 1:]
        error = (model.expected(told.detach()) - wanted).square()
        known = weight > 0
        return Loss(
            self._cross_entropy(model, told.float(), wanted), weight, {"square_error": error[known].mean().detach()}
        )

    def _counts(self, passes: StepPasses[DynamicsTransformer]) -> Float[Tensor, "b t n"]:
        """How much each number counts: those of steps that there are, actions by their weight."""
        model, real = passes.model, passes.batch.mask
        weights = [torch.ones(model.observed), torch.full((model.acted,), self.config.actions), torch.ones(1)]
        return real[..., None] * torch.cat(weights).to(real.device)

    def _cross_entropy(self, model: DynamicsTransformer, logits: Tensor, values: Tensor) -> Float[Tensor, "b n"]:
        if model.config.soft:
            targets = model.bins.soft_targets(values, self.config.deviation)
            return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)
        return F.cross_entropy(logits.flatten(0, 1), model.bins.encode(values).flatten(), reduction="none").view(
            values.shape
        )


def _values(passes: StepPasses[DynamicsTransformer]) -> Float[Tensor, "b t n"]:
    batch = passes.batch
    return passes.model.sequence(batch.state, passes.action, batch.reward)
