"""The evidence lower bound of a recurrent state-space model: reconstruction and divergence."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.core.records import Loss
from manyparts.models.dynamics.recurrent import RecurrentDynamics
from manyparts.models.dynamics.state_space import Filtered, balanced_divergence
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import LatentStateConfig
from manyparts.objectives.steps import StepPasses


class LatentState(Objective, config=LatentStateConfig, model=RecurrentDynamics):
    """-log p(o_t, r_{t-1} | s_t) + KL(q(z_t | h_t, o_t) || p(z_t | h_t)), with s_t = (h_t, z_t).

    One number per step (Hafner et al. 2021, equation 2, and algorithm 2 for the balance). The
    reward of a window's last action is predicted from the prior, because no observation follows it.
    """

    def __init__(self, config: LatentStateConfig, model: RecurrentDynamics):
        super().__init__()
        self.config = config

    def predict(self, passes: StepPasses[RecurrentDynamics]) -> Float[Tensor, "b t m"]:
        """Each step's next observation and reward, from the most likely prior variables."""
        return self._predict_next(passes, self._filtered(passes, None))

    def forward(self, passes: StepPasses[RecurrentDynamics]) -> Loss:
        model, batch, config = passes.model, passes.batch, self.config
        filtered = self._filtered(passes, passes.generator)
        decoded = model.decode(filtered.features)
        error = (decoded[..., :-1] - batch.state).square().sum(dim=-1)
        # The state at t holds the reward of the action before it, r_{t-1}: step 0 has none, and
        # padding on the left puts the error of r_{t-1} at step t.
        error = error + F.pad((decoded[:, 1:, -1] - batch.reward[:, :-1]).square(), (1, 0))
        # The reward of a window's last real action would stand one step further on, where nothing
        # was observed. It is predicted from the prior there and added to the last real step.
        ends = torch.arange(len(batch), device=error.device), batch.mask.sum(dim=1) - 1
        last_reward = self._predict_next(passes, filtered, passes.generator)[ends][:, -1]
        error = error.index_put(ends, (last_reward - batch.reward[ends]).square(), accumulate=True)
        divergence = balanced_divergence(
            model.latent, filtered.posterior, filtered.prior, balance=config.balance
        )
        loss = error / (2 * config.std**2) + config.divergence * divergence
        with torch.no_grad():
            following = self._predict_next(passes, filtered)[..., :-1][:, :-1]
            next_error = (following - batch.state[:, 1:]).square().mean(dim=-1)
        real = batch.mask[:, 1:]
        metrics = {
            "square_error": (next_error * real).sum() / real.sum().clamp(min=1),
            "divergence": (divergence.detach() * batch.mask).sum() / batch.mask.sum().clamp(min=1),
        }
        return Loss(loss, batch.mask, metrics)

    def _filtered(
        self, passes: StepPasses[RecurrentDynamics], generator: torch.Generator | None
    ) -> Filtered:
        return passes.model.filter(passes.batch.state, passes.action, generator)

    def _predict_next(
        self,
        passes: StepPasses[RecurrentDynamics],
        filtered: Filtered,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b t m"]:
        """Next observation and reward from the prior, drawn as in `RecurrentDynamics.filter`."""
        model = passes.model
        # One step ahead from every state at once: steps join the batch.
        recurrent = model.advance(
            filtered.recurrent.flatten(0, 1),
            filtered.drawn.flatten(0, 1),
            passes.action.flatten(0, 1),
        )
        drawn = model.latent.draw(model.prior(recurrent), generator)
        decoded = model.decode(torch.cat([recurrent, drawn], dim=-1))
        return decoded.view(*filtered.drawn.shape[:2], -1)
