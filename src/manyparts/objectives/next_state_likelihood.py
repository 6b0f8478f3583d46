"""The next state as a Gaussian: its negative log likelihood under every member of an ensemble
(PETS)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.randomness import mix
from manyparts.core.records import Batch, Loss
from manyparts.models.dynamics.ensemble import EnsembleDynamics, Gaussians
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import NextStateLikelihoodConfig
from manyparts.objectives.steps import StepPasses

# Counts above this have a probability of about 1e-10 and are cut off.
_MAX_COUNT = 12


class NextStateLikelihood(Objective, config=NextStateLikelihoodConfig, model=EnsembleDynamics):
    """-log N(o_{t+1} - o_t, r_t; mu_i(o_t, a_t), sigma_i(o_t, a_t)) per number and member i.

    In training each member has its own bootstrap sample of the steps. About 37 % of the steps are
    not in it. Their square error is the member's held-out error, by which the model chooses its
    elites.
    """

    # The last batch's held-out errors wait here for `after_step`, because `forward` changes no
    # weights or buffers.
    _held_out: Tensor | None = None

    def __init__(self, config: NextStateLikelihoodConfig, model: EnsembleDynamics):
        super().__init__()
        self.config = config

    def predict(self, passes: StepPasses[EnsembleDynamics]) -> Gaussians:
        """See `EnsembleDynamics.forward`."""
        return passes.model(passes.batch.state, passes.action)

    def forward(self, passes: StepPasses[EnsembleDynamics]) -> Loss:
        """The loss, (b, e, t, m): windows, members, steps, numbers."""
        model, predicted = passes.model, self.predict(passes)
        error = (passes.outcomes - predicted.mean).square()
        log_variance = predicted.log_variance
        loss = 0.5 * (error * (-log_variance).exp() + log_variance + math.log(2 * math.pi))
        # The bounds of the log variance are learned. Nothing else holds them together: without this
        # term they drift apart, and variances outside the data become arbitrary.
        loss = loss + self.config.bound * (model.highest - model.lowest)
        mask = passes.outcome_mask.expand_as(error)
        weight = mask.float()
        if self.training:
            counts = bootstrap(passes.batch, model.config.members)[..., None]
            self._held_out = _mean_per_member(
                error.detach(), weight * (counts == 0), model.held_out_error
            )
            # A step that was drawn twice weighs twice, one that was not drawn weighs nothing.
            weight = weight * counts
        metrics = {"square_error": _mean_per_member(error.detach(), mask).mean()}
        # Members come first in the model, windows first in a loss.
        return Loss(loss.transpose(0, 1), weight.transpose(0, 1), metrics)

    @torch.no_grad()
    def after_step(self, model: EnsembleDynamics) -> None:
        if self._held_out is not None:
            model.held_out_error.lerp_(self._held_out, 1 - self.config.memory)
            self._held_out = None


def bootstrap(batch: Batch, members: int) -> Float[Tensor, "e b t"]:
    """How often each step is in each member's sample.

    The counts have a Poisson distribution of mean 1, the limit of drawing with replacement (Oza and
    Russell 2001). They depend only on the member and on the step's index in the dataset.

    Args:
        batch: the windows, with their indices in the dataset.
        members: number of members, e.

    Returns:
        Counts, as whole numbers from 0.
    """
    # A window's number is the dataset index of its first frame, so the sum is that of each step. A
    # hash of it, instead of a random number, gives a step the same count in every window and epoch:
    # what a member holds out, it never trains on.
    offsets = torch.arange(batch.mask.shape[1], device=batch.window.device)
    steps = (batch.window[:, None] + offsets).cpu().numpy()
    uniform = torch.stack(
        [torch.from_numpy(mix(steps, member) / 2.0**64) for member in range(members)]
    )
    probabilities = torch.tensor(
        [math.exp(-1) / math.factorial(count) for count in range(_MAX_COUNT)], dtype=torch.float64
    )
    # The inverse of the cumulative distribution turns uniform numbers into counts.
    return torch.bucketize(uniform, probabilities.cumsum(0)).float().to(batch.mask.device)


def _mean_per_member(
    error: Float[Tensor, "e b t m"], weight: Tensor, otherwise: Float[Tensor, "e"] | float = 0.0
) -> Float[Tensor, "e"]:
    """Weighted means; `otherwise` for members with weights that are all 0."""
    total = weight.flatten(1).sum(dim=1)
    means = (error * weight).flatten(1).sum(dim=1) / total.clamp(min=1)
    return torch.where(total > 0, means, otherwise)
