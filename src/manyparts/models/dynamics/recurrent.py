"""A recurrent state-space model of states to plan with, with categorical variables (DreamerV2).

Hafner et al. 2021, "Mastering Atari with Discrete World Models", arXiv 2010.02193. Dimensions: see
`state_space`; s numbers of an observation, which is its own embedding.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import TrainableModel
from manyparts.models.dynamics.configs import RecurrentDynamicsConfig
from manyparts.models.dynamics.markov_context import require_actions, require_lengths
from manyparts.models.dynamics.single_embodiment import dimensions
from manyparts.models.dynamics.state_space import StateSpace
from manyparts.models.dynamics.world_model import Prediction
from manyparts.nn.latents import CategoricalLatent
from manyparts.nn.mlp import mlp


class RecurrentDynamics(StateSpace, TrainableModel):
    """See the module. What follows an action, observation and reward, is decoded from the state
    after it.

    Args:
        config: Sizes.
        embodiments: One embodiment.
        chunk: Actions per step; must be 1.
        steps: Steps of a window, and of the context that is kept, which starts from a state of
            zeros.
    """

    prompt_encoder = None
    encoder_names = ()
    trunk = ()
    reward_limit = math.inf

    def __init__(
        self, config: RecurrentDynamicsConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        sizes = dimensions(embodiments, chunk=chunk, steps=steps)
        latent = CategoricalLatent(config.variables, config.categories, config.uniform)
        super().__init__(latent, embedding=sizes[0], action=sizes[1], width=config.width)
        self.state_dimension, self.action_dimension = sizes
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        width, features = config.width, config.width + latent.width
        self.decoder = mlp([features, width, width, self.state_dimension + 1])

    def decode(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... m"]:
        """Return the observation at a state, then the reward of the action before: m = s + 1."""
        return self.decoder(features)

    @torch.no_grad()
    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> RecurrentContext:
        """See `WorldModel.encode`. Of a longer context the last window is kept."""
        require_lengths(observation, action, reward)
        return RecurrentContext(self, observation, action)


class RecurrentContext:
    """See `Context`: a window's observations and actions, and the state at its end.

    The state is computed again from the whole window at each step, of which there are few: a state
    that remembers more than a window was never trained.
    """

    def __init__(
        self,
        model: RecurrentDynamics,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
    ) -> None:
        self.model, self.observation = model, observation[-model.steps :]
        # The actions between the observations that are kept: one fewer than these.
        self.action = action[len(action) + 1 - len(self.observation) :]
        filtered = model.filter(self.observation[None], self.action[None])
        self.recurrent, self.drawn = filtered.recurrent[0, -1], filtered.drawn[0, -1]

    def imagine(self, count: int, generator: torch.Generator | None = None) -> RecurrentImagination:
        """See `Context.imagine`. Nothing is drawn."""
        return RecurrentImagination(
            self.model, self.recurrent.expand(count, -1), self.drawn.expand(count, -1)
        )

    @torch.no_grad()
    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> RecurrentContext:
        """See `Context.extended`."""
        observations = torch.cat([self.observation, observation[None]])
        actions = torch.cat([self.action, action[None]])
        return RecurrentContext(self.model, observations, actions)


class RecurrentImagination:
    """See `Imagination`: it goes on with the most likely variables at each step.

    So no draw decides which plan is the best.
    """

    def __init__(
        self, model: RecurrentDynamics, recurrent: Float[Tensor, "n d"], drawn: Float[Tensor, "n z"]
    ) -> None:
        self._model, self._recurrent, self._drawn = model, recurrent, drawn

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        model = self._model
        require_actions(action, len(self._recurrent), model.action_dimension)
        self._recurrent = model.advance(self._recurrent, self._drawn, action)
        # From the prior, since nothing is observed; without a generator, the most likely variables.
        self._drawn = model.latent.draw(model.prior(self._recurrent))
        outputs = model.decode(torch.cat([self._recurrent, self._drawn], dim=-1))
        return Prediction(outputs[:, :-1], outputs[:, -1])
