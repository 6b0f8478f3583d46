"""What comes next: the cross-entropy of the next observation and of the reward under a dynamics transformer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from understudy.models.dynamics_transformer import DynamicsTransformer
from understudy.objectives.base import Objective
from understudy.objectives.steps import TransformerPasses
from understudy.types import Loss, UserError


@dataclass(frozen=True)
class NextStepConfig:
    """deviation: of targets that are spread over neighbouring bins, in bins, where the model is soft. likelihood: how
    much the cross-entropy counts, and square_error: that of what the model expects. To a cross-entropy over bins that
    are finer near zero, a change that is wrong by a hundredth of itself is as wrong as any other; to a planner the
    large ones matter."""

    weight: float = 1.0
    deviation: float = 1.0
    likelihood: float = 1.0
    square_error: float = 0.0

    def __post_init__(self) -> None:
        if self.deviation <= 0:
            raise UserError(f"deviation {self.deviation} is not positive")
        if min(self.likelihood, self.square_error) < 0 or not self.likelihood + self.square_error > 0:
            raise UserError(
                f"likelihood is {self.likelihood} and square_error {self.square_error}; expected at least 0 each, and "
                "more than 0 of one"
            )


class NextStep(Objective):
    """-log p(o_{t+1}, r_t | o_1, a_1, ..., o_t, a_t), number by number (TDM); of all at once, o_{t+1} - o_t. Beside it,
    if asked for, the square error of their expectations."""

    def __init__(self, config: NextStepConfig, model: DynamicsTransformer):
        super().__init__()
        self.config = config

    def predict(self, passes: TransformerPasses) -> Float[Tensor, "b t m bins"]:
        """See `DynamicsTransformer.forward`."""
        return passes.following

    def forward(self, passes: TransformerPasses) -> Loss:
        model, logits = passes.model, self.predict(passes)
        values, real = passes.values, _counts(passes)
        s = model.observed
        if model.config.decoding == "parallel":
            told = torch.cat([logits[:, :-1, :s].flatten(1, 2), logits[:, :, -1]], dim=1)
            changes = values[:, 1:, :s] - values[:, :-1, :s]
            wanted = torch.cat([changes.flatten(1), values[:, :, -1]], dim=1)
            weight = torch.cat([real[:, 1:, :s].flatten(1), real[:, :, -1]], dim=1)
        else:
            told, wanted, weight = logits.flatten(1, 2)[:, :-1], values.flatten(1)[:, 1:], real.flatten(1)[:, 1:]
        config, known = self.config, weight > 0
        error = (model.expected(told if config.square_error else told.detach()) - wanted).square()
        loss = config.square_error * error
        if config.likelihood:
            loss = loss + config.likelihood * cross_entropy(model, told.float(), wanted, config.deviation)
        return Loss(loss, weight, {"square_error": error[known].mean().detach()})


def cross_entropy(
    model: DynamicsTransformer, logits: Float[Tensor, "*n bins"], values: Float[Tensor, "*n"], deviation: float
) -> Float[Tensor, "*n"]:
    """Of distributions over the model's bins. deviation: as in `NextStepConfig`."""
    if model.config.soft:
        targets = model.bins.soft_targets(values, deviation)
        return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)
    flat = F.cross_entropy(logits.flatten(0, -2), model.bins.encode(values).flatten(), reduction="none")
    return flat.view(values.shape)


def _counts(passes: TransformerPasses) -> Float[Tensor, "b t n"]:
    """Which numbers count: observations and rewards of steps that there are. Actions are given."""
    model, real = passes.model, passes.batch.mask
    predicted = torch.cat([torch.ones(model.observed), torch.zeros(model.acted), torch.ones(1)])
    return real[..., None] * predicted.to(real.device)
