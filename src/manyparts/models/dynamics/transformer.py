"""A transformer over the numbers of observations, actions and rewards that predicts what comes next
(Schubert et al. 2023, "A Generalist Dynamics Model for Control", arXiv 2305.10912)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.models.dynamics.context import TransformerContext
from manyparts.models.dynamics.step_transformer import StepTransformer


class DynamicsTransformer(StepTransformer):
    """The network as a world model, which planners encode a history with; see `WorldModel` and
    `StepTransformer`."""

    @torch.no_grad()
    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> TransformerContext:
        """See `WorldModel.encode`: as if it had been extended step by step. A step sees as many as
        the model has places for, through them what these saw, and so on; what is out of this reach
        is not encoded. Raises UserError for what is not finite."""
        if len(observation) != len(action) + 1 or len(action) != len(reward):
            raise ValueError(
                f"{len(observation)} observations, {len(action)} actions, {len(reward)} rewards"
            )
        self.require_finite(observation, action, reward)
        first = max(0, len(action) - self.reach)
        observation, action, reward = observation[first:], action[first:], reward[first:]
        done = self.sequence(observation[None, :-1], action[None], reward[None])
        context = TransformerContext(self, None, 0, 0, observation[0])
        if len(action):
            told = context.with_tokens(
                self.embed_steps(done).flatten(1, 2), self.step_indices(done)
            )
            context = TransformerContext(
                self, told.cache, 0, len(action), observation[-1]
            ).bounded()
        return context.with_observation() if self.config.decoding == "sequential" else context

    @torch.no_grad()
    def cumulative(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        reward: Float[Tensor, "b u"],
    ) -> Float[Tensor, "b m"]:
        """See `Distributional.cumulative`. Sequential: of each number given those before it, as
        they came. A context is the one that `encode` makes of it. Raises UserError for what is not
        finite."""
        self.require_finite(observation, action, reward)
        first = max(0, action.shape[1] - 1 - self.reach)
        observation, action, reward = observation[:, first:], action[:, first:], reward[:, first:]
        done, last, s = (
            self.sequence(observation[:, :-1], action, reward),
            observation[:, -1],
            self.observed,
        )
        if self.config.decoding == "parallel":
            came = torch.cat([last - observation[:, -2], reward[:, -1:]], dim=-1)
            return self.bins.cumulative(self(done).logits.float().softmax(dim=-1), came)
        whole = torch.cat([done, F.pad(last, (0, self.tokens - s))[:, None]], dim=1)
        first = done[0].numel() - 1  # the reward's place, before the last observation's
        told = self(whole).logits.flatten(1, 2)[:, first - 1 : first + s].float().softmax(dim=-1)
        return self.bins.cumulative(told, whole.flatten(1)[:, first : first + s + 1]).roll(
            -1, dims=-1
        )
