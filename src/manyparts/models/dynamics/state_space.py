"""The core of recurrent state-space models: a recurrent state and random variables.

Hafner et al. 2019, "Learning Latent Dynamics for Planning from Pixels", arXiv 1811.04551, and 2021,
"Mastering Atari with Discrete World Models", arXiv 2010.02193. What is observed comes as an
embedding, so that states, images and both are one case.

Dimensions: b or n rows, t steps, u actions, e numbers of an embedding, d numbers of the recurrent
state, z numbers of the variables, f = d + z features, p by q parameters of their distribution.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyparts.nn.gru import NormGRUCell
from manyparts.nn.latents import Latent, sample
from manyparts.nn.linear import Linear
from manyparts.nn.mlp import mlp

CellKind = Literal["gru", "norm_gru"]


class WorldState(NamedTuple):
    """The state of n sequences at one step."""

    recurrent: Float[Tensor, "n d"]
    """What is known for certain: it follows from the state and the action before."""

    drawn: Float[Tensor, "n z"]
    """The random variables."""

    @property
    def features(self) -> Float[Tensor, "n f"]:
        """The whole state as one vector, for heads."""
        return torch.cat([self.recurrent, self.drawn], dim=-1)


class Filtered(NamedTuple):
    """The states of sequences, with what was observed at each step."""

    recurrent: Float[Tensor, "b t d"]
    """The recurrent state at each step, from the steps before it."""

    prior: Float[Tensor, "b t p q"]
    """Distributions of the variables without the step's observation."""

    posterior: Float[Tensor, "b t p q"]
    """Distributions of the variables with the step's observation."""

    drawn: Float[Tensor, "b t z"]
    """Variables that are drawn from the posterior."""

    @property
    def features(self) -> Float[Tensor, "b t f"]:
        """The whole states: recurrent states and variables."""
        return torch.cat([self.recurrent, self.drawn], dim=-1)

    def starts(self, rows: Bool[Tensor, "b t"]) -> WorldState:
        """The states at chosen steps, as n rows to imagine from, without gradient."""
        return WorldState(self.recurrent[rows].detach(), self.drawn[rows].detach())


class StateSpace(nn.Module):
    """See the module.

    Args:
        latent: The family of the random variables.
        embedding: Numbers of an embedded observation.
        action: Numbers of an action.
        width: Of the recurrent state and of hidden layers.
        cell: "gru", or "norm_gru" with normalised gates (`nn.gru`).
        activation: What follows hidden layers.
    """

    def __init__(
        self,
        latent: Latent,
        *,
        embedding: int,
        action: int,
        width: int,
        cell: CellKind = "gru",
        activation: type[nn.Module] = nn.GELU,
    ):
        super().__init__()
        self.latent, self.width = latent, width
        self.enter = Linear(latent.width + action, width)
        kind = nn.GRUCell if cell == "gru" else NormGRUCell
        self.recurrent = kind(width, width)
        self.activation = activation()
        self.prior_head = mlp([width, width, latent.outputs], activation=activation)
        self.posterior_head = mlp([width + embedding, width, latent.outputs], activation=activation)

    def initial(self, like: Tensor) -> WorldState:
        """Return the states of sequences of which nothing is known: zeros.

        Args:
            like: Its rows are counted, and it says device and type.
        """
        count = len(like)
        return WorldState(
            like.new_zeros(count, self.width), like.new_zeros(count, self.latent.width)
        )

    def advance(
        self,
        recurrent: Float[Tensor, "n d"],
        drawn: Float[Tensor, "n z"],
        action: Float[Tensor, "n a"],
    ) -> Float[Tensor, "n d"]:
        """Return the recurrent state after an action."""
        entered = self.activation(self.enter(torch.cat([drawn, action], dim=-1)))
        return self.recurrent(entered, recurrent)

    def prior(self, recurrent: Float[Tensor, "... d"]) -> Float[Tensor, "... p q"]:
        """Return distributions of the variables before anything is observed."""
        return self.latent.distribution(self.prior_head(recurrent))

    def posterior(
        self, recurrent: Float[Tensor, "... d"], embedding: Float[Tensor, "... e"]
    ) -> Float[Tensor, "... p q"]:
        """Return distributions of the variables after an observation."""
        return self.latent.distribution(
            self.posterior_head(torch.cat([recurrent, embedding], dim=-1))
        )

    def observed(
        self,
        recurrent: Float[Tensor, "n d"],
        embedding: Float[Tensor, "n e"],
        generator: torch.Generator | None = None,
    ) -> WorldState:
        """Return states after an observation. generator: see `Latent.draw`."""
        outputs = self.posterior_head(torch.cat([recurrent, embedding], dim=-1))
        return WorldState(recurrent, sample(self.latent, outputs, generator))

    def imagined(
        self,
        state: WorldState,
        action: Float[Tensor, "n a"],
        generator: torch.Generator | None = None,
    ) -> WorldState:
        """Return the states after an action, without an observation. generator: as above."""
        recurrent = self.advance(state.recurrent, state.drawn, action)
        return WorldState(recurrent, sample(self.latent, self.prior_head(recurrent), generator))

    def filter(
        self,
        embedding: Float[Tensor, "b t e"],
        action: Float[Tensor, "b u a"],
        generator: torch.Generator | None = None,
    ) -> Filtered:
        """Return the states of sequences.

        Args:
            embedding: t embedded observations.
            action: The u >= t - 1 actions after them.
            generator: Draws the variables. None: the most likely ones are taken.
        """
        # A window starts in the middle of an episode, so its first state knows nothing: zeros.
        recurrent = [embedding.new_zeros(len(embedding), self.width)]
        posterior, drawn = [], []
        # Taken apart at once: the gradient of a slice is a tensor of the size of all.
        seen, taken = embedding.unbind(dim=1), action.unbind(dim=1)
        # A loop over steps: each draw goes into the next recurrent state.
        for step, each in enumerate(seen):
            if step:
                recurrent.append(self.advance(recurrent[-1], drawn[-1], taken[step - 1]))
            # The posterior sees the observation that the prior has to do without.
            posterior.append(self.posterior(recurrent[-1], each))
            drawn.append(self.latent.draw(posterior[-1], generator))
        states = torch.stack(recurrent, dim=1)
        # Priors depend on recurrent states alone, so they are computed for all steps at once.
        return Filtered(
            states, self.prior(states), torch.stack(posterior, dim=1), torch.stack(drawn, dim=1)
        )


def balanced_divergence(
    latent: Latent,
    posterior: Float[Tensor, "b t p q"],
    prior: Float[Tensor, "b t p q"],
    *,
    balance: float,
) -> Float[Tensor, "b t"]:
    """Return KL(posterior || prior) with gradients of unequal size.

    Both terms have the same value; detaching decides which distribution each of them trains. The
    prior moves faster, so that the posterior is not drawn towards a prior that is still poor
    (Hafner et al. 2021, algorithm 2).

    Args:
        latent: The family of both.
        posterior: With the observation.
        prior: Without it.
        balance: Fraction that trains the prior; the rest trains the posterior.
    """
    to_prior = balance * latent.divergence(posterior.detach(), prior)
    to_posterior = (1 - balance) * latent.divergence(posterior, prior.detach())
    return to_prior + to_posterior


def free_nats(
    divergence: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"], nats: float
) -> Float[Tensor, "b t"]:
    """Return divergences that train nothing while their mean over real steps is below `nats`.

    The mean is compared, not each step (Hafner et al. 2021, released code).
    """
    mean = (divergence.detach() * mask).sum() / mask.sum().clamp(min=1)
    return torch.where(mean < nats, torch.full_like(divergence, nats), divergence)
