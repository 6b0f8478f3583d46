"""The next observation and reward, predicted by a dynamics transformer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.core.records import Loss
from manyparts.models.dynamics.step_transformer import BinnedPrediction
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import NextStepConfig
from manyparts.objectives.steps import TransformerPasses

# Weight of the distribution's cross-entropy next to the square error. Adam scales each parameter's
# steps by its own gradients, so the distribution's layer learns as fast with any weight. A small
# one takes little of the clipped norm of the whole gradient.
_DISTRIBUTION_WEIGHT = 0.01


class NextStep(Objective, config=NextStepConfig, model=DynamicsTransformer):
    """-log p(o_{t+1}, r_t | o_1, a_1, ..., o_t, a_t), one loss per number (TDM).

    A model that decodes in parallel learns the square error of the expected o_{t+1} - o_t and r_t
    instead. The distribution's -log p is added, but trains only the distribution's own layer. The
    reason: bins are finer near zero, so that cross-entropy treats equal relative errors equally,
    whereas a planner depends on the large changes.
    """

    def __init__(self, config: NextStepConfig, model: DynamicsTransformer):
        super().__init__()
        self.config = config

    def predict(self, passes: TransformerPasses) -> BinnedPrediction:
        """See `DynamicsTransformer.forward`."""
        return passes.prediction

    def forward(self, passes: TransformerPasses) -> Loss:
        model, predicted, std = passes.model, self.predict(passes), self.config.std
        if model.config.decoding == "parallel":
            targets, weight = passes.outcomes, passes.outcome_mask
            error = (predicted.expected.float() - targets).square()
            # The distribution is learned at one step per window; its loss is added to the square
            # error of that step's numbers.
            drawn = torch.arange(len(targets), device=targets.device), passes.drawn_step
            likelihood = cross_entropy(model, predicted.logits.float(), targets[drawn], std)
            loss = error.index_put(drawn, _DISTRIBUTION_WEIGHT * likelihood, accumulate=True)
        else:
            # All numbers of a window in one row, (b, t * n). The output at each number predicts the
            # one after it, so targets lose the first number and outputs lose the last.
            targets = passes.values.flatten(1)[:, 1:]
            weight = _sequence_weight(passes).flatten(1)[:, 1:]
            expected = predicted.expected.flatten(1, 2)[:, :-1]
            logits = predicted.logits.flatten(1, 2)[:, :-1]
            error = (expected - targets).square()
            loss = cross_entropy(model, logits.float(), targets, std)
        return Loss(loss, weight, {"square_error": error[weight > 0].mean().detach()})


def cross_entropy(
    model: DynamicsTransformer,
    logits: Float[Tensor, "*n bins"],
    values: Float[Tensor, "*n"],
    std: float,
) -> Float[Tensor, "*n"]:
    """Cross-entropy in nats of distributions over the model's bins.

    Args:
        model: has the bins, and says whether targets are soft.
        logits: of the predicted distributions.
        values: the numbers that came.
        std: see `NextStepConfig.std`.
    """
    if model.config.soft:
        targets = model.bins.soft_targets(values, std)
        return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)
    flat = F.cross_entropy(
        logits.flatten(0, -2), model.bins.encode(values).flatten(), reduction="none"
    )
    return flat.view(values.shape)


def _sequence_weight(passes: TransformerPasses) -> Float[Tensor, "b t n"]:
    """1 for the observation and reward of real steps; 0 for actions, which are inputs."""
    model, real = passes.model, passes.batch.mask
    observation, action = model.state_dimension, model.action_dimension
    predicted = torch.cat([torch.ones(observation), torch.zeros(action), torch.ones(1)])
    return real[..., None] * predicted.to(real.device)
