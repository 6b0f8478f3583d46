"""Planning in a latent world: the state after what was seen, and its imaginations."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.markov_context import require_actions
from manyparts.models.dynamics.state_space import WorldState
from manyparts.models.dynamics.world_model import Prediction


class LatentContext:
    """See `Context`. The state is carried on through the episode, so a step costs one step.

    Args:
        model: The world model.
        state: One row, of the current observation.
    """

    def __init__(self, model: LatentWorld, state: WorldState) -> None:
        self.model, self.state = model, state

    def imagine(self, count: int, generator: torch.Generator | None = None) -> LatentImagination:
        """See `Context.imagine`. Nothing is drawn."""
        return LatentImagination(
            self.model, WorldState(*(part.expand(count, -1) for part in self.state))
        )

    @torch.no_grad()
    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> LatentContext:
        """See `Context.extended`; of a model that sees states alone."""
        recurrent = self.model.advance(self.state.recurrent, self.state.drawn, action[None])
        embedding = self.model.embed({}, observation[None])
        return LatentContext(self.model, self.model.observed(recurrent, embedding))


class LatentImagination:
    """See `Imagination`: it goes on with the most likely variables at each step.

    Actions are those of one body. Of a model of several they are padded with zeros. Rewards after
    an end count by how likely there was none; that of the action which ends an episode counts.
    """

    def __init__(self, model: LatentWorld, state: WorldState) -> None:
        self._model, self._state = model, state
        # (n,), the probability that the episode is still going on.
        self._alive = torch.ones_like(state.recurrent[:, 0])

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`. Of a model that sees only images, the observation is empty."""
        model = self._model
        action = F.pad(action, (0, max(0, model.action_dimension - action.shape[-1])))
        require_actions(action, len(self._state.recurrent), model.action_dimension)
        self._state = model.imagined(self._state, action)
        features = self._state.features
        observation = features[:, :0] if model.state_head is None else model.state_head(features)
        reward = model.reward(features) * self._alive
        self._alive = self._alive * model.continuation(features)
        return Prediction(observation, reward)
