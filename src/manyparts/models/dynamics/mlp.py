"""A multi-layer perceptron from observation and action to the change of the observation and the
reward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.markov_context import MarkovContext, require_actions
from manyparts.models.dynamics.single_embodiment import dimensions
from manyparts.models.dynamics.world_model import Prediction
from manyparts.nn.mlp import mlp


@dataclass(frozen=True)
class MlpDynamicsConfig:
    """width: of each of so many hidden layers."""

    width: int = 200
    layers: int = 4

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least 1")


class MlpDynamics(nn.Module):
    """See the module. embodiments: one embodiment; steps: of a window, of which each is predicted
    from the one before."""

    prompt_encoder = None
    encoder_names = ()

    def __init__(
        self, config: MlpDynamicsConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        self.observed, self.acted = dimensions(embodiments, chunk=chunk, steps=steps)
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        self.network = mlp(
            [self.observed + self.acted, *[config.width] * config.layers, self.observed + 1]
        )

    def load_pretrained(self) -> tuple[str, ...]:
        """There are no weights to begin with."""
        return ()

    def forward(
        self, observation: Float[Tensor, "... s"], action: Float[Tensor, "... a"]
    ) -> Float[Tensor, "... m"]:
        """The change of each number of the observation, and at last the reward: m = s + 1."""
        return self.network(torch.cat([observation, action], dim=-1))

    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> MarkovContext:
        """See `WorldModel.encode`."""
        return MarkovContext.after(
            observation, action, reward, lambda begin, _: MlpImagination(self, begin)
        )


class MlpImagination:
    """See `Imagination`."""

    def __init__(self, model: MlpDynamics, observation: Float[Tensor, "n s"]) -> None:
        self._model, self._observation = model, observation

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        require_actions(action, len(self._observation), self._model.acted)
        told = self._model(self._observation, action)
        self._observation = self._observation + told[:, :-1]
        return Prediction(self._observation, told[:, -1])
