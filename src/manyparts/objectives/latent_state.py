"""The evidence lower bound of a recurrent state-space model: what a state tells, and what it costs
to know it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.models.dynamics.recurrent import Filtered, RecurrentDynamics
from manyparts.objectives.base import Objective, ObjectiveConfig
from manyparts.objectives.steps import StepPasses


@dataclass(frozen=True)
class LatentStateConfig(ObjectiveConfig):
    """Settings of `LatentState`."""

    std: float = 0.1
    """Standard deviation of normalised observations and rewards around their prediction."""

    divergence: float = 1.0
    """Weight of the Kullback-Leibler divergence between posterior and prior."""

    balance: float = 0.8
    """Fraction of the divergence that trains the prior, in [0, 1]; the rest trains the posterior."""

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise UserError(f"std {self.std} is not positive")
        if self.divergence < 0:
            raise UserError(f"weight {self.divergence} of the divergence is negative")
        if not 0 <= self.balance <= 1:
            raise UserError(f"balance {self.balance} of the divergence; expected in [0, 1]")


class LatentState(Objective, config=LatentStateConfig, model=RecurrentDynamics):
    """-log p(o_t, r_{t-1} | s_t) + KL(q(z_t | h_t, o_t) || p(z_t | h_t)), with s_t = (h_t, z_t),
    step by step (Hafner et al. 2021, equation 2, and algorithm 2 for the balance).

    The reward of a window's last action is told from the prior, as nothing is seen after it.
    """

    def __init__(self, config: LatentStateConfig, model: RecurrentDynamics):
        super().__init__()
        self.config = config

    def predict(self, passes: StepPasses[RecurrentDynamics]) -> Float[Tensor, "b t m"]:
        """Of each step's next observation and of its reward, before it comes: from the most likely
        variables."""
        return self._ahead(passes, self._filtered(passes, None))

    def forward(self, passes: StepPasses[RecurrentDynamics]) -> Loss:
        model, batch, config = passes.model, passes.batch, self.config
        known = self._filtered(passes, passes.generator)
        told = model.decode(known.features)
        error = (told[..., :-1] - batch.state).square().sum(dim=-1)
        error = error + F.pad((told[:, 1:, -1] - batch.reward[:, :-1]).square(), (1, 0))
        ends = torch.arange(len(batch), device=error.device), batch.mask.sum(dim=1) - 1
        after = self._ahead(passes, known, passes.generator)[ends][:, -1]
        error = error.index_put(ends, (after - batch.reward[ends]).square(), accumulate=True)
        moved = config.balance * divergence(known.posterior.detach(), known.prior)
        held = (1 - config.balance) * divergence(known.posterior, known.prior.detach())
        loss = error / (2 * config.std**2) + config.divergence * (moved + held)
        with torch.no_grad():
            missed = (
                (self._ahead(passes, known)[..., :-1][:, :-1] - batch.state[:, 1:])
                .square()
                .mean(dim=-1)
            )
        real = batch.mask[:, 1:]
        metrics = {
            "square_error": (missed * real).sum() / real.sum().clamp(min=1),
            "divergence": ((moved + held).detach() * batch.mask).sum()
            / batch.mask.sum().clamp(min=1),
        }
        return Loss(loss, batch.mask, metrics)

    def _filtered(
        self, passes: StepPasses[RecurrentDynamics], generator: torch.Generator | None
    ) -> Filtered:
        return passes.model.filter(passes.batch.state, passes.action, generator)

    def _ahead(
        self,
        passes: StepPasses[RecurrentDynamics],
        known: Filtered,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b t m"]:
        """generator: as in `RecurrentDynamics.filter`, of what comes next."""
        model = passes.model
        after = model.advance(
            known.recurrent.flatten(0, 1), known.drawn.flatten(0, 1), passes.action.flatten(0, 1)
        )
        drawn = model.draw(model.prior(after), generator)
        return model.decode(torch.cat([after, drawn], dim=-1)).view(*known.drawn.shape[:2], -1)


def divergence(
    first: Float[Tensor, "... v c"], second: Float[Tensor, "... v c"]
) -> Float[Tensor, "..."]:
    """KL(first || second) of independent categorical variables from their log probabilities, in
    nats."""
    return (first.exp() * (first - second)).sum(dim=(-2, -1))
