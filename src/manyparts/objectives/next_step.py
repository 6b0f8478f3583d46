"""What comes next: the next observation and the reward, as a dynamics transformer tells them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.models.dynamics.step_transformer import BinnedPrediction
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.objectives.base import Objective, ObjectiveConfig
from manyparts.objectives.steps import TransformerPasses

# What the distribution counts beside the square error: its layer learns as fast by any weight, as
# Adam counts, and this one takes little of the whole gradient, which is clipped.
_ASIDE = 0.01


@dataclass(frozen=True)
class NextStepConfig(ObjectiveConfig):
    """Settings of `NextStep`."""

    std: float = 1.0
    """Standard deviation, in bins, of targets spread over neighbouring bins; used if the model is
    soft."""

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise UserError(f"std {self.std} is not positive")


class NextStep(Objective, config=NextStepConfig, model=DynamicsTransformer):
    """-log p(o_{t+1}, r_t | o_1, a_1, ..., o_t, a_t), number by number (TDM). Of all at once, the
    square error of what is expected of o_{t+1} - o_t and r_t; their -log p beside it shapes nothing
    but the layer that tells it. To a cross-entropy over bins that are finer near zero, a change
    that is wrong by a hundredth of itself is as wrong as any other; to a planner the large ones
    matter."""

    def __init__(self, config: NextStepConfig, model: DynamicsTransformer):
        super().__init__()
        self.config = config

    def predict(self, passes: TransformerPasses) -> BinnedPrediction:
        """See `DynamicsTransformer.forward`."""
        return passes.following

    def forward(self, passes: TransformerPasses) -> Loss:
        model, told, std = passes.model, self.predict(passes), self.config.std
        if model.config.decoding == "parallel":
            wanted, weight = passes.outcomes, passes.known
            error = (told.expected.float() - wanted).square()
            one = torch.arange(len(wanted), device=wanted.device), passes.step
            aside = _ASIDE * cross_entropy(model, told.logits.float(), wanted[one], std)
            loss = error.index_put(one, aside, accumulate=True)
        else:
            wanted, weight = passes.values.flatten(1)[:, 1:], _counts(passes).flatten(1)[:, 1:]
            expected, logits = (each.flatten(1, 2)[:, :-1] for each in told)
            error = (expected - wanted).square()
            loss = cross_entropy(model, logits.float(), wanted, std)
        return Loss(loss, weight, {"square_error": error[weight > 0].mean().detach()})


def cross_entropy(
    model: DynamicsTransformer,
    logits: Float[Tensor, "*n bins"],
    values: Float[Tensor, "*n"],
    std: float,
) -> Float[Tensor, "*n"]:
    """Of distributions over the model's bins. std: as in `NextStepConfig`."""
    if model.config.soft:
        targets = model.bins.soft_targets(values, std)
        return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)
    flat = F.cross_entropy(
        logits.flatten(0, -2), model.bins.encode(values).flatten(), reduction="none"
    )
    return flat.view(values.shape)


def _counts(passes: TransformerPasses) -> Float[Tensor, "b t n"]:
    """Sequential: which numbers count: observations and rewards of steps that there are. Actions
    are given."""
    model, real = passes.model, passes.batch.mask
    predicted = torch.cat([torch.ones(model.observed), torch.zeros(model.acted), torch.ones(1)])
    return real[..., None] * predicted.to(real.device)
