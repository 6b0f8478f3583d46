"""A model of what was done in the sources: a variational autoencoder of actions (Vid2Act).

Kingma and Welling 2014, arXiv 1312.6114. Dimensions: g numbers of a state's features, a numbers of
an action, k sources, z = 2 a latent numbers, m numbers of a guide.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.nn.linear import Linear
from manyparts.nn.mlp import mlp

_LOG_STD_RANGE = (-4.0, 15.0)  # as in the released code


class LatentAction(NamedTuple):
    """Normal distributions of latent actions."""

    mean: Float[Tensor, "... z"]
    log_std: Float[Tensor, "... z"]

    @property
    def divergence(self) -> Float[Tensor, "..."]:
        """KL to the standard normal distribution in nats, a mean over the latent numbers."""
        variance = (2 * self.log_std).exp()
        return 0.5 * (variance + self.mean.square() - 1 - 2 * self.log_std).mean(dim=-1)


class ActionVae(nn.Module):
    """See the module.

    Args:
        features: Numbers of a state's features.
        action: Numbers of an action.
        sources: How many sources there are.
        width: Of hidden layers.
        guide: Numbers of the last hidden layer, which has no dimension of an action, so that it
            means something to other bodies, too.
    """

    marks: Tensor

    def __init__(self, features: int, action: int, sources: int, *, width: int, guide: int):
        super().__init__()
        self.sources, self.latent = sources, 2 * action
        self.encoder = mlp([features + action + sources, width, width, 2 * self.latent])
        self.decoder = mlp([features + self.latent + sources, width, guide])
        self.action_head = Linear(guide, action)
        self.register_buffer("marks", torch.eye(sources), persistent=False)

    def encode(
        self,
        features: Float[Tensor, "... g"],
        action: Float[Tensor, "... a"],
        source: Int[Tensor, "..."],
    ) -> LatentAction:
        """Return the distribution of latent actions, of actions that were taken in states."""
        inputs = torch.cat([features, action, self._marks(source, features)], dim=-1)
        outputs = self.encoder(inputs)
        mean, log_std = outputs.float().chunk(2, dim=-1)
        return LatentAction(mean, log_std.clamp(*_LOG_STD_RANGE))

    def guide(
        self,
        features: Float[Tensor, "... g"],
        latent: Float[Tensor, "... z"],
        source: Int[Tensor, "..."],
    ) -> Float[Tensor, "... m"]:
        """Return guides: what lies behind the action that a source would take in states."""
        inputs = torch.cat([features, latent, self._marks(source, features)], dim=-1)
        return F.gelu(self.decoder(inputs))

    def action(self, guide: Float[Tensor, "... m"]) -> Float[Tensor, "... a"]:
        """Return the actions behind guides, within [-1, 1]."""
        return self.action_head(guide).tanh()

    def _marks(self, source: Tensor, like: Tensor) -> Tensor:
        """The sources, one-hot."""
        return self.marks[source].to(like.dtype)
