"""Layers between features and numbers that are represented by bins."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyparts.nn.linear import Linear


class NumberHeads(nn.Module):
    """Linear heads of m numbers that are predicted at once: their values, and distributions.

    Args:
        width: Width of the features.
        count: m.
        bins: Bins of each number's distribution.
    """

    def __init__(self, width: int, count: int, bins: int):
        super().__init__()
        self.expected = Linear(width, count)
        self.bins = Linear(width, count * bins)

    def forward(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... m"]:
        """Return the expected values."""
        return self.expected(hidden)

    def logits(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... m bins"]:
        """Return the logits of each number's bins."""
        # Detached: the distribution is read from features that only the expected values shape.
        return self.bins(hidden.detach()).unflatten(-1, (self.expected.out_features, -1))


def bin_waves(count: int, width: int) -> Float[Tensor, "n d"]:
    """Return sines and cosines of each bin's index, from half a wave to 32 waves over all bins.

    As initial embeddings they make neighbouring bins similar, so that what is learned of one bin
    holds for the next.

    Args:
        count: Number of bins.
        width: Numbers per bin; even. The first half are sines, the second half cosines.
    """
    # From 0.5 to 0.5 * 64 waves, evenly on a logarithmic scale.
    waves = 0.5 * 64 ** torch.linspace(0, 1, width // 2)
    angles = 2 * torch.pi * torch.arange(count)[:, None] / count * waves
    return torch.cat([angles.sin(), angles.cos()], dim=1)
