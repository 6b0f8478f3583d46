"""A transformer over observations, actions and rewards as a world model (TDM).

Schubert et al. 2023, "A Generalist Dynamics Model for Control", arXiv 2305.10912.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.models.dynamics.context import TransformerContext
from manyparts.models.dynamics.markov_context import require_lengths
from manyparts.models.dynamics.step_transformer import StepTransformer


class DynamicsTransformer(StepTransformer):
    """The network as a world model: planners encode a context with it; see `WorldModel`."""

    @torch.no_grad()
    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> TransformerContext:
        """See `WorldModel.encode`. The result is as if it had been extended step by step.

        Raises:
            UserError: A number is not finite.
        """
        require_lengths(observation, action, reward)
        self.require_finite(observation, action, reward)
        # Earlier steps cannot influence the current one, so they are not encoded.
        first = max(0, len(action) - self.receptive_field)
        observation, action, reward = observation[first:], action[first:], reward[first:]
        done = self.sequence(observation[None, :-1], action[None], reward[None])
        context = TransformerContext(self, None, 0, 0, observation[0])
        if len(action):
            tokens = self.embed_steps(done).flatten(1, 2)
            encoded = context.with_tokens(tokens, self.step_indices(done))
            context = TransformerContext(
                self, encoded.cache, 0, len(action), observation[-1]
            ).bounded()
        return context.with_observation() if self.config.decoding == "sequential" else context

    @torch.no_grad()
    def cumulative(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        reward: Float[Tensor, "b u"],
    ) -> Float[Tensor, "b m"]:
        """See `Distributional.cumulative`, with the context that `encode` would keep.

        Sequential: the distribution of each number is conditioned on the numbers before it, as they
        came.

        Raises:
            UserError: A number is not finite.
        """
        self.require_finite(observation, action, reward)
        first = max(0, action.shape[1] - 1 - self.receptive_field)
        observation, action, reward = observation[:, first:], action[:, first:], reward[:, first:]
        done = self.sequence(observation[:, :-1], action, reward)
        last, s = observation[:, -1], self.state_dimension
        if self.config.decoding == "parallel":
            outcome = torch.cat([last - observation[:, -2], reward[:, -1:]], dim=-1)
            return self.bins.cumulative(self(done).logits.float().softmax(dim=-1), outcome)
        # The last observation begins a step without action and reward; zeros fill these positions,
        # and no number of the observation sees them.
        values = torch.cat([done, F.pad(last, (0, self.tokens_per_step - s))[:, None]], dim=1)
        # Flattened, the last reward stands right before the last observation: at `index` and at the
        # s positions after it. Token i predicts number i + 1, so logits are read one earlier.
        index = done[0].numel() - 1
        logits = self(values).logits.flatten(1, 2)[:, index - 1 : index + s]
        outcome = values.flatten(1)[:, index : index + s + 1]
        probabilities = logits.float().softmax(dim=-1)
        # The reward comes first in the stream and last in the result.
        return self.bins.cumulative(probabilities, outcome).roll(-1, dims=-1)
