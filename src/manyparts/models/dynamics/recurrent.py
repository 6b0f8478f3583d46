"""A recurrent state-space model: a recurrent state, and categorical variables that are drawn given
it (DreamerV2; Hafner et al. 2021, "Mastering Atari with Discrete World Models", arXiv
2010.02193)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.markov_context import require_actions
from manyparts.models.dynamics.single_embodiment import dimensions
from manyparts.models.dynamics.world_model import Prediction
from manyparts.nn.mlp import mlp


@dataclass(frozen=True)
class RecurrentDynamicsConfig:
    """width: of the recurrent state, and of hidden layers. variables: of so many categories each.
    uniform: share of a uniform distribution in theirs, so that none is ever impossible
    (DreamerV3's; Hafner et al. 2023)."""

    width: int = 200
    variables: int = 16
    categories: int = 16
    uniform: float = 0.01

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("variables", 1), ("categories", 2)):
            if getattr(self, name) < least:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least {least}")
        if not 0 < self.uniform < 1:
            raise UserError(
                f"model.uniform is {self.uniform}; expected more than 0 and less than 1"
            )


class Filtered(NamedTuple):
    """What is known at each step of a sequence. recurrent: from what was before it. prior,
    posterior: log probabilities of the variables without and with the step's observation. drawn:
    from the posterior, one-hot."""

    recurrent: Float[Tensor, "b t d"]
    prior: Float[Tensor, "b t v c"]
    posterior: Float[Tensor, "b t v c"]
    drawn: Float[Tensor, "b t z"]

    @property
    def features(self) -> Float[Tensor, "b t f"]:
        return torch.cat([self.recurrent, self.drawn], dim=-1)


class RecurrentDynamics(nn.Module):
    """See the module. embodiments: one embodiment; steps: of a window, and of the context that is
    kept, from whose first step on the state is known.

    What is seen after an action, observation and reward, is told by the state after it.
    """

    prompt_encoder = None
    encoder_names = ()

    def __init__(
        self, config: RecurrentDynamicsConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        self.observed, self.acted = dimensions(embodiments, chunk=chunk, steps=steps)
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        width, drawn = config.width, config.variables * config.categories
        self.enter = nn.Linear(drawn + self.acted, width)
        self.recurrent = nn.GRUCell(width, width)
        self.prior_head = mlp([width, width, drawn])
        self.posterior_head = mlp([width + self.observed, width, drawn])
        self.decoder = mlp([width + drawn, width, width, self.observed + 1])

    def load_pretrained(self) -> tuple[str, ...]:
        """There are no weights to begin with."""
        return ()

    def decode(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... m"]:
        """The observation at a state and, at last, the reward of the action that led there: m = s +
        1."""
        return self.decoder(features)

    def filter(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        generator: torch.Generator | None = None,
    ) -> Filtered:
        """The states of a sequence of t observations and the u >= t - 1 actions behind them.
        generator: draws the variables; None: the most likely ones."""
        recurrent = [observation.new_zeros(len(observation), self.config.width)]
        posterior, drawn = [], []
        for step in range(observation.shape[1]):
            if step:
                recurrent.append(self.advance(recurrent[-1], drawn[-1], action[:, step - 1]))
            seen = torch.cat([recurrent[-1], observation[:, step]], dim=-1)
            posterior.append(self._distribution(self.posterior_head(seen)))
            drawn.append(self.draw(posterior[-1], generator))
        before = torch.stack(recurrent, dim=1)
        return Filtered(
            before, self.prior(before), torch.stack(posterior, dim=1), torch.stack(drawn, dim=1)
        )

    def advance(
        self,
        recurrent: Float[Tensor, "n d"],
        drawn: Float[Tensor, "n z"],
        action: Float[Tensor, "n a"],
    ) -> Float[Tensor, "n d"]:
        """The recurrent state after an action."""
        return self.recurrent(F.gelu(self.enter(torch.cat([drawn, action], dim=-1))), recurrent)

    def prior(self, recurrent: Float[Tensor, "... d"]) -> Float[Tensor, "... v c"]:
        """Log probabilities of the variables before anything is observed."""
        return self._distribution(self.prior_head(recurrent))

    def draw(
        self, log_probabilities: Float[Tensor, "... v c"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... z"]:
        """One-hot, flattened; gradients pass as if these were the probabilities (straight through).
        See `filter`."""
        noisy = log_probabilities
        if generator is not None:  # the largest with Gumbel noise is a draw
            noise = torch.rand(noisy.shape, generator=generator, device=generator.device).to(
                noisy.device
            )
            noisy = noisy - (-noise.clamp(1e-20, 1 - 1e-7).log()).log()
        chosen = F.one_hot(noisy.argmax(dim=-1), self.config.categories).to(log_probabilities.dtype)
        probabilities = log_probabilities.exp()
        return (chosen + probabilities - probabilities.detach()).flatten(-2)

    @torch.no_grad()
    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> RecurrentContext:
        """See `WorldModel.encode`. Of a longer context the last steps are taken that a window
        had."""
        if len(observation) != len(action) + 1 or len(action) != len(reward):
            raise ValueError(
                f"{len(observation)} observations, {len(action)} actions, {len(reward)} rewards"
            )
        return RecurrentContext(self, observation, action)

    def _distribution(self, logits: Float[Tensor, "... z"]) -> Float[Tensor, "... v c"]:
        told = rearrange(logits.float(), "... (v c) -> ... v c", c=self.config.categories).softmax(
            dim=-1
        )
        return torch.lerp(
            told, torch.full_like(told, 1 / self.config.categories), self.config.uniform
        ).log()


class RecurrentContext:
    """See `Context`: a window's observations and actions, of which the state is known.

    It is known anew after each step, of which a window has few: a state that remembers more was
    never trained.
    """

    def __init__(
        self,
        model: RecurrentDynamics,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
    ) -> None:
        """Of a longer context the last steps are taken."""
        self.model, self.observation = model, observation[-model.steps :]
        self.action = action[len(action) + 1 - len(self.observation) :]
        known = model.filter(self.observation[None], self.action[None])
        self.recurrent, self.drawn = known.recurrent[0, -1], known.drawn[0, -1]

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
        seen, done = (
            torch.cat([self.observation, observation[None]]),
            torch.cat([self.action, action[None]]),
        )
        return RecurrentContext(self.model, seen, done)


class RecurrentImagination:
    """See `Imagination`: the most likely variables at each step, so that no draw decides which plan
    is the best."""

    def __init__(
        self, model: RecurrentDynamics, recurrent: Float[Tensor, "n d"], drawn: Float[Tensor, "n z"]
    ) -> None:
        self._model, self._recurrent, self._drawn = model, recurrent, drawn

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        model = self._model
        require_actions(action, len(self._recurrent), model.acted)
        self._recurrent = model.advance(self._recurrent, self._drawn, action)
        self._drawn = model.draw(model.prior(self._recurrent))
        told = model.decode(torch.cat([self._recurrent, self._drawn], dim=-1))
        return Prediction(told[:, :-1], told[:, -1])
