"""The next state as a Gaussian: its negative log likelihood under every member of an ensemble
(PETS)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.randomness import mix
from manyparts.core.records import Batch, Loss
from manyparts.models.dynamics.ensemble import EnsembleDynamics, Gaussians
from manyparts.objectives.base import Objective, ObjectiveConfig
from manyparts.objectives.steps import StepPasses

_MOST = 12  # a step is there more often once in 10^10


@dataclass(frozen=True)
class NextStateLikelihoodConfig(ObjectiveConfig):
    """Settings of `NextStateLikelihood`."""

    bound: float = 0.01
    """Weight of the distance between the bounds of log variances, which pulls them together."""

    memory: float = 0.99
    """Decay of members' held-out errors per optimiser step, in [0, 1)."""

    def __post_init__(self) -> None:
        if self.bound < 0:
            raise UserError(f"weight {self.bound} of bounds is negative")
        if not 0 <= self.memory < 1:
            raise UserError(f"memory {self.memory} of held-out errors; expected in [0, 1)")


class NextStateLikelihood(Objective, config=NextStateLikelihoodConfig, model=EnsembleDynamics):
    """-log N(o_{t+1} - o_t, r_t; mu_i(o_t, a_t), sigma_i(o_t, a_t)), number by number, for each
    member i.

    In training each member has a bootstrap sample of the steps of its own. About 37 % are not in
    it; the square error of these is the member's held-out error, by which the model chooses its
    elites.
    """

    _held_out: Tensor | None = None  # of the last batch of training, until `after_step`

    def __init__(self, config: NextStateLikelihoodConfig, model: EnsembleDynamics):
        super().__init__()
        self.config = config

    def predict(self, passes: StepPasses[EnsembleDynamics]) -> Gaussians:
        """See `EnsembleDynamics.forward`."""
        return passes.model(passes.batch.state, passes.action)

    def forward(self, passes: StepPasses[EnsembleDynamics]) -> Loss:
        """Of (b, e, t, m): windows, members, steps, numbers."""
        model, known, told = passes.model, passes.known, self.predict(passes)
        error = (passes.outcomes - told.mean).square()
        loss = 0.5 * (
            error * (-told.log_variance).exp() + told.log_variance + math.log(2 * math.pi)
        )
        loss = loss + self.config.bound * (model.highest - model.lowest)
        counts = known.expand_as(error).float()
        if self.training:
            times = bootstrap(passes.batch, model.config.members)[..., None]
            self._held_out = _mean_of_members(
                error.detach(), counts * (times == 0), model.held_out_error
            )
            counts = counts * times
        metrics = {"square_error": _mean_of_members(error.detach(), known.expand_as(error)).mean()}
        return Loss(loss.transpose(0, 1), counts.transpose(0, 1), metrics)

    @torch.no_grad()
    def after_step(self, model: EnsembleDynamics) -> None:
        if self._held_out is not None:
            model.held_out_error.lerp_(self._held_out, 1 - self.config.memory)
            self._held_out = None


def bootstrap(batch: Batch, members: int) -> Float[Tensor, "e b t"]:
    """How often each step is in each member's sample, by a Poisson distribution of mean 1, to which
    drawing with replacement tends (Oza and Russell 2001); a function of the member and of the
    step's place in the dataset alone."""
    steps = (
        (batch.window[:, None] + torch.arange(batch.mask.shape[1], device=batch.window.device))
        .cpu()
        .numpy()
    )
    uniform = torch.stack(
        [torch.from_numpy(mix(steps, member) / 2.0**64) for member in range(members)]
    )
    chances = torch.tensor(
        [math.exp(-1) / math.factorial(count) for count in range(_MOST)], dtype=torch.float64
    )
    return torch.bucketize(uniform, chances.cumsum(0)).float().to(batch.mask.device)


def _mean_of_members(
    error: Float[Tensor, "e b t m"], counts: Tensor, otherwise: Float[Tensor, "e"] | float = 0.0
) -> Float[Tensor, "e"]:
    """otherwise: of members for which nothing counts."""
    total = counts.flatten(1).sum(dim=1)
    means = (error * counts).flatten(1).sum(dim=1) / total.clamp(min=1)
    return torch.where(total > 0, means, otherwise)
