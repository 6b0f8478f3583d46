"""Values in [-1, 1] to bins and back: uniform, or finer near zero by the mu-law."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Bins(nn.Module):
    """num_bins equal cells of [-1, 1] after the companding sign(x) ln(1 + mu |x|) / ln(1 + mu); mu = 0: none.

    DualMind's released code uses mu = 1.7 without the denominator, so part of its bins is never used.
    """

    centres: Tensor

    def __init__(self, num_bins: int, *, mu: float = 0.0):
        super().__init__()
        self.num_bins, self.mu = num_bins, mu
        middles = (2 * torch.arange(num_bins) + 1) / num_bins - 1
        self.register_buffer("centres", self._expand(middles), persistent=False)

    def encode(self, values: Float[Tensor, "..."]) -> Int[Tensor, "..."]:
        """The bin of each value; values outside [-1, 1] fall into the outermost bins."""
        cell = (self._compress(values.clamp(-1, 1)) + 1) / 2 * self.num_bins
        return cell.long().clamp(0, self.num_bins - 1)

    def decode(self, index: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The centre of each bin."""
        return self.centres[index]

    def soft_targets(self, values: Float[Tensor, "..."], deviation_bins: float) -> Float[Tensor, "... n"]:
        """Probabilities over bins: a Gaussian around each value, its deviation counted in bins."""
        position = (self._compress(values.clamp(-1, 1)) + 1) / 2 * self.num_bins - 0.5
        distance = torch.arange(self.num_bins, device=values.device) - position[..., None]
        return (-0.5 * (distance / deviation_bins) ** 2).softmax(dim=-1)

    def _compress(self, x: Tensor) -> Tensor:
        return x.sign() * torch.log1p(self.mu * x.abs()) / math.log1p(self.mu) if self.mu else x

    def _expand(self, y: Tensor) -> Tensor:
        return y.sign() * torch.expm1(y.abs() * math.log1p(self.mu)) / self.mu if self.mu else y
