"""A probabilistic ensemble: several networks, each of which predicts a Gaussian (PETS; Chua et al.
2018, "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models",
arXiv 1805.12114)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.markov_context import MarkovContext, require_actions
from manyparts.models.dynamics.single_embodiment import dimensions
from manyparts.models.dynamics.world_model import Imagination, Prediction
from manyparts.nn.ensemble import EnsembleMlp

Propagation = Literal["expectation", "ts1", "tsinf"]
_PROPAGATIONS = ("expectation", "ts1", "tsinf")


@dataclass(frozen=True)
class EnsembleDynamicsConfig:
    """elites: how many of the members predict, those with the least held-out error. width: of each
    of so many hidden layers. log_variance: bounds with which training begins.

    propagation: of an imagination. "expectation": the mean of all elites' means, one state a
    candidate. "ts1" and "tsinf": trajectory sampling, `particles` states a candidate, each drawn
    from the Gaussian of one elite, another one at every step or the same for ever; predictions are
    means over particles, a multiple of elites. seed: of particles, where no generator is given to
    `Context.imagine`.

    Expectation is the default: it costs a quarter of 20 particles, and no draw decides which plan
    is the best.
    """

    members: int = 7
    elites: int = 5
    width: int = 200
    layers: int = 4
    log_variance: tuple[float, float] = (-10.0, 0.5)
    propagation: Propagation = "expectation"
    particles: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("elites", "width", "layers", "particles"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least 1")
        if self.elites > self.members:
            raise UserError(
                f"model.elites is {self.elites}; expected at most model.members, {self.members}"
            )
        if self.propagation not in _PROPAGATIONS:
            raise UserError(
                f"model.propagation is {self.propagation!r}; choices: {', '.join(_PROPAGATIONS)}"
            )
        if self.particles % self.elites:
            raise UserError(
                f"model.particles is {self.particles}; expected a multiple of model.elites, {self.elites}"
            )
        if self.log_variance[0] >= self.log_variance[1]:
            raise UserError(
                f"model.log_variance is {self.log_variance}; expected the lower bound first"
            )


class Gaussians(NamedTuple):
    """Of e members, for each of m = s + 1 numbers: the changes of the observation, and at last the
    reward."""

    mean: Float[Tensor, "e ... m"]
    log_variance: Float[Tensor, "e ... m"]


class EnsembleDynamics(nn.Module):
    """See the module. embodiments: one embodiment; steps: of a window, of which each is predicted
    from the one before.

    held_out_error: each member's on what it is not trained on; the objective that trains the
    ensemble moves it.
    """

    prompt_encoder = None
    encoder_names = ()
    held_out_error: Tensor

    def __init__(
        self, config: EnsembleDynamicsConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        self.observed, self.acted = dimensions(embodiments, chunk=chunk, steps=steps)
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        predicted = self.observed + 1
        sizes = [self.observed + self.acted, *[config.width] * config.layers, 2 * predicted]
        self.network = EnsembleMlp(config.members, sizes)
        low, high = config.log_variance
        self.lowest = nn.Parameter(torch.full((predicted,), low))
        self.highest = nn.Parameter(torch.full((predicted,), high))
        self.register_buffer("held_out_error", torch.zeros(config.members))

    def load_pretrained(self) -> tuple[str, ...]:
        """There are no weights to begin with."""
        return ()

    @property
    def elites(self) -> Int[Tensor, "e"]:
        """The members that predict."""
        return self.held_out_error.argsort(stable=True)[: self.config.elites]

    def forward(
        self, observation: Float[Tensor, "... s"], action: Float[Tensor, "... a"]
    ) -> Gaussians:
        """What every member says of the same steps."""
        told = torch.cat([observation, action], dim=-1)
        found = self.each(told.flatten(0, -2).expand(self.config.members, -1, -1), None)
        return Gaussians(*(part.unflatten(1, told.shape[:-1]) for part in found))

    def each(self, told: Float[Tensor, "e n i"], members: Int[Tensor, "e"] | None) -> Gaussians:
        """What members say of observations and actions of their own. members: see
        `EnsembleLinear.forward`."""
        mean, raw = self.network(told, members).chunk(2, dim=-1)
        return Gaussians(mean, self._bounded(raw))

    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> MarkovContext:
        """See `WorldModel.encode`."""

        def begin(observation: Tensor, generator: torch.Generator | None) -> Imagination:
            if self.config.propagation == "expectation":
                return ExpectedImagination(self, observation)
            fresh = torch.Generator(observation.device).manual_seed(self.config.seed)
            return SampledImagination(self, observation, generator or fresh)

        return MarkovContext.after(observation, action, reward, begin)

    @torch.no_grad()
    def cumulative(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        reward: Float[Tensor, "b u"],
    ) -> Float[Tensor, "b m"]:
        """See `Distributional.cumulative`: of the elites' mixture."""
        mean, log_variance = self(observation[:, -2], action[:, -1])
        came = torch.cat([observation[:, -1] - observation[:, -2], reward[:, -1:]], dim=-1)
        below = torch.special.ndtr((came - mean) * (-0.5 * log_variance).exp())
        return below[self.elites].mean(dim=0)

    def _bounded(self, raw: Float[Tensor, "e n m"]) -> Float[Tensor, "e n m"]:
        """Between `lowest` and `highest`, softly (Chua et al., appendix A.1)."""
        below = self.highest - F.softplus(self.highest - raw)
        return self.lowest + F.softplus(below - self.lowest)


class ExpectedImagination:
    """See `Imagination`: all elites go on from the mean of what they have said."""

    def __init__(self, model: EnsembleDynamics, observation: Float[Tensor, "n s"]) -> None:
        self._model, self._observation, self._elites = model, observation, model.elites

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        require_actions(action, len(self._observation), self._model.acted)
        told = torch.cat([self._observation, action], dim=-1).expand(len(self._elites), -1, -1)
        mean = self._model.each(told, self._elites).mean.mean(dim=0)
        self._observation = self._observation + mean[:, :-1]
        return Prediction(self._observation, mean[:, -1])


class SampledImagination:
    """See `Imagination`: particles that each follow an elite, equally many an elite. All candidates
    meet the same noise, so that they are compared alike, however they are split into batches
    (common random numbers; Ng and Jordan 2000)."""

    def __init__(
        self, model: EnsembleDynamics, observation: Float[Tensor, "n s"], generator: torch.Generator
    ) -> None:
        self._model, self._elites, self._generator = model, model.elites, generator
        self._particles = observation.expand(model.config.particles, -1, -1)

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`: means over particles."""
        model, (count, candidates, _) = self._model, self._particles.shape
        require_actions(action, candidates, model.acted)
        if model.config.propagation == "ts1":
            self._particles = self._particles[self._draw(torch.randperm, count)]
        told = torch.cat([self._particles, action.expand(count, -1, -1)], dim=-1)
        told = rearrange(told, "(e k) n i -> e (k n) i", e=len(self._elites))
        mean, log_variance = (
            rearrange(part, "e (k n) m -> (e k) n m", n=candidates)
            for part in model.each(told, self._elites)
        )
        drawn = (
            mean + self._draw(torch.randn, count, 1, mean.shape[-1]) * (0.5 * log_variance).exp()
        )
        self._particles = self._particles + drawn[..., :-1]
        return Prediction(self._particles.mean(dim=0), drawn[..., -1].mean(dim=0))

    def _draw(self, draw: Callable[..., Tensor], *shape: int) -> Tensor:
        return draw(*shape, generator=self._generator, device=self._particles.device)
