"""A multi-layer perceptron from observation and action to the change and the reward."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import TrainableModel
from manyparts.models.dynamics.configs import MlpDynamicsConfig
from manyparts.models.dynamics.markov_context import MarkovContext, require_actions
from manyparts.models.dynamics.single_embodiment import dimensions
from manyparts.models.dynamics.world_model import Prediction
from manyparts.nn.mlp import mlp


class MlpDynamics(nn.Module, TrainableModel):
    """See the module.

    Args:
        config: Sizes.
        embodiments: One embodiment.
        chunk: Actions per step; must be 1.
        steps: Steps of a window, of which each is predicted from the one before.
    """

    prompt_encoder = None
    encoder_names = ()
    trunk = ()
    reward_limit = math.inf

    def __init__(
        self, config: MlpDynamicsConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        self.state_dimension, self.action_dimension = dimensions(
            embodiments, chunk=chunk, steps=steps
        )
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        inputs, outputs = self.state_dimension + self.action_dimension, self.state_dimension + 1
        self.network = mlp([inputs, *[config.width] * config.layers, outputs])

    def forward(
        self, observation: Float[Tensor, "... s"], action: Float[Tensor, "... a"]
    ) -> Float[Tensor, "... m"]:
        """Return the change of each number of the observation, then the reward: m = s + 1.

        Args:
            observation: Normalised.
            action: The action after each observation, within [-1, 1].
        """
        return self.network(torch.cat([observation, action], dim=-1))

    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> MarkovContext:
        """See `WorldModel.encode`."""

        def start(observation: Tensor, generator: torch.Generator | None) -> MlpImagination:
            return MlpImagination(self, observation)  # it draws nothing

        return MarkovContext.after(observation, action, reward, start)


class MlpImagination:
    """See `Imagination`."""

    def __init__(self, model: MlpDynamics, observation: Float[Tensor, "n s"]) -> None:
        self._model, self._observation = model, observation

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        require_actions(action, len(self._observation), self._model.action_dimension)
        outputs = self._model(self._observation, action)
        # Changes are predicted: little differs from one step to the next.
        self._observation = self._observation + outputs[:, :-1]
        return Prediction(self._observation, outputs[:, -1])
