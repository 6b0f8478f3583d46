"""A probabilistic ensemble: several networks, each of which predicts a Gaussian (PETS).

Chua et al. 2018, "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics
Models", arXiv 1805.12114. Dimensions: e members, n rows or candidates, m = s + 1 predicted numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import TrainableModel
from manyparts.models.dynamics.configs import EnsembleDynamicsConfig
from manyparts.models.dynamics.markov_context import MarkovContext, require_actions
from manyparts.models.dynamics.single_embodiment import dimensions
from manyparts.models.dynamics.world_model import Imagination, Prediction
from manyparts.nn.ensemble import EnsembleMlp


class Gaussians(NamedTuple):
    """Predictions of e members for m = s + 1 numbers: the observation's changes, then the reward.

    They are normal distributions, independent of each other.
    """

    mean: Float[Tensor, "e ... m"]
    """Expected values."""

    log_variance: Float[Tensor, "e ... m"]
    """Logarithms of the variances."""


class EnsembleDynamics(nn.Module, TrainableModel):
    """See the module.

    Args:
        config: Sizes.
        embodiments: One embodiment.
        chunk: Actions per step; must be 1.
        steps: Steps of a window, of which each is predicted from the one before.

    Attributes:
        held_out_error: Each member's error (e,) on the data that it is not trained on. The
            objective that trains the ensemble updates it.
    """

    prompt_encoder = None
    encoder_names = ()
    trunk = ()
    reward_limit = math.inf
    held_out_error: Tensor

    def __init__(
        self, config: EnsembleDynamicsConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        self.state_dimension, self.action_dimension = dimensions(
            embodiments, chunk=chunk, steps=steps
        )
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        inputs, predicted = self.state_dimension + self.action_dimension, self.state_dimension + 1
        # Two outputs per predicted number: its mean and its log variance.
        self.network = EnsembleMlp(
            config.members, [inputs, *[config.width] * config.layers, 2 * predicted]
        )
        low, high = config.log_variance
        self.lowest = nn.Parameter(torch.full((predicted,), low))
        self.highest = nn.Parameter(torch.full((predicted,), high))
        self.register_buffer("held_out_error", torch.zeros(config.members))

    @property
    def elites(self) -> Int[Tensor, "e"]:
        """Indices of the members that predict."""
        # Stable, so that members of equal errors, as before training, keep their order.
        return self.held_out_error.argsort(stable=True)[: self.config.elites]

    def forward(
        self, observation: Float[Tensor, "... s"], action: Float[Tensor, "... a"]
    ) -> Gaussians:
        """Return what every member predicts for the same steps.

        Args:
            observation: Normalised.
            action: The action after each observation, within [-1, 1].
        """
        inputs = torch.cat([observation, action], dim=-1)
        # `expand` gives each member the same rows without copying them.
        gaussians = self.each(inputs.flatten(0, -2).expand(self.config.members, -1, -1), None)
        return Gaussians(*(part.unflatten(1, inputs.shape[:-1]) for part in gaussians))

    def each(self, inputs: Float[Tensor, "e n i"], members: Int[Tensor, "e"] | None) -> Gaussians:
        """Return what members predict, each for its own observations and actions.

        Args:
            inputs: Observations and actions, joined; one slice per member.
            members: See `EnsembleLinear.forward`.
        """
        # The first half of the outputs are means, the second half raw log variances.
        mean, raw = self.network(inputs, members).chunk(2, dim=-1)
        return Gaussians(mean, self._bounded(raw))

    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> MarkovContext:
        """See `WorldModel.encode`."""

        def start(observation: Tensor, generator: torch.Generator | None) -> Imagination:
            if self.config.propagation == "expectation":
                return ExpectedImagination(self, observation)
            default = torch.Generator(observation.device).manual_seed(self.config.seed)
            return SampledImagination(self, observation, generator or default)

        return MarkovContext.after(observation, action, reward, start)

    @torch.no_grad()
    def cumulative(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        reward: Float[Tensor, "b u"],
    ) -> Float[Tensor, "b m"]:
        """See `Distributional.cumulative`: that of the elites' mixture."""
        mean, log_variance = self(observation[:, -2], action[:, -1])
        outcome = torch.cat([observation[:, -1] - observation[:, -2], reward[:, -1:]], dim=-1)
        # exp(-log_variance / 2) is 1 / std. A mixture's distribution function is the mean of its
        # parts' ones.
        below = torch.special.ndtr((outcome - mean) * (-0.5 * log_variance).exp())
        return below[self.elites].mean(dim=0)

    def _bounded(self, raw: Float[Tensor, "e n m"]) -> Float[Tensor, "e n m"]:
        """Return values between `lowest` and `highest`, softly (Chua et al., appendix A.1)."""
        below = self.highest - F.softplus(self.highest - raw)
        return self.lowest + F.softplus(below - self.lowest)


class ExpectedImagination:
    """See `Imagination`: all elites go on from the mean of their predictions."""

    def __init__(self, model: EnsembleDynamics, observation: Float[Tensor, "n s"]) -> None:
        self._model, self._observation, self._elites = model, observation, model.elites

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        require_actions(action, len(self._observation), self._model.action_dimension)
        rows = torch.cat([self._observation, action], dim=-1)
        inputs = rows.expand(len(self._elites), -1, -1)
        mean = self._model.each(inputs, self._elites).mean.mean(dim=0)
        self._observation = self._observation + mean[:, :-1]
        return Prediction(self._observation, mean[:, -1])


class SampledImagination:
    """See `Imagination`: particles that each follow an elite, equally many per elite.

    All candidates meet the same noise, so that they are compared fairly, however they are split
    into batches (common random numbers; Ng and Jordan 2000).
    """

    def __init__(
        self, model: EnsembleDynamics, observation: Float[Tensor, "n s"], generator: torch.Generator
    ) -> None:
        self._model, self._elites, self._generator = model, model.elites, generator
        self._particles = observation.expand(model.config.particles, -1, -1)  # (particles, n, s)

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`: means over particles."""
        model, (count, candidates, _) = self._model, self._particles.shape
        require_actions(action, candidates, model.action_dimension)
        if model.config.propagation == "ts1":
            # A particle's row decides its elite, so permuting the rows gives each another one, and
            # every elite keeps equally many.
            self._particles = self._particles[self._draw(torch.randperm, count)]
        inputs = torch.cat([self._particles, action.expand(count, -1, -1)], dim=-1)
        # Rows (e k): k successive particles per elite. Each elite then has k n rows of its own.
        inputs = rearrange(inputs, "(e k) n i -> e (k n) i", e=len(self._elites))
        mean, log_variance = (
            rearrange(part, "e (k n) m -> (e k) n m", n=candidates)
            for part in model.each(inputs, self._elites)
        )
        # Noise (particles, 1, m): the dimension of candidates is 1, so they all share it.
        noise = self._draw(torch.randn, count, 1, mean.shape[-1])
        drawn = mean + noise * (0.5 * log_variance).exp()
        # Each particle goes on from its own draw; only what is returned is a mean.
        self._particles = self._particles + drawn[..., :-1]
        return Prediction(self._particles.mean(dim=0), drawn[..., -1].mean(dim=0))

    def _draw(self, draw: Callable[..., Tensor], *shape: int) -> Tensor:
        """Return what a torch function draws from the generator."""
        return draw(*shape, generator=self._generator, device=self._particles.device)
