"""TokenLearner: many patch tokens to a few, weighted means over positions (Ryoo et al. 2021, arXiv
2106.11297)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class TokenLearner(nn.Module):
    """num_tokens learned tokens; each has `maps` attention maps, one for each equal part of its
    channels.

    initial_gain widens the first scores: maps that begin nearly uniform all read the mean of the
    image, and learning to look somewhere takes thousands of steps (docs/log.md, 2026-11-21).
    """

    def __init__(
        self,
        width: int,
        num_tokens: int,
        *,
        maps: int = 1,
        hidden: int = 64,
        initial_gain: float = 10.0,
    ):
        super().__init__()
        if width % maps:
            raise ValueError(f"width {width} is not a multiple of maps {maps}")
        self.num_tokens, self.maps = num_tokens, maps
        self.norm = nn.LayerNorm(width)
        scores = nn.Linear(hidden, num_tokens * maps)
        with torch.no_grad():
            scores.weight.mul_(initial_gain)
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), scores)

    def attention(self, patches: Float[Tensor, "b p d"]) -> Float[Tensor, "b n m p"]:
        """Where each token looks: weights over positions that sum to 1."""
        scores = self.score(self.norm(patches))
        return rearrange(scores, "b p (n m) -> b n m p", n=self.num_tokens).softmax(dim=-1)

    def forward(self, patches: Float[Tensor, "b p d"]) -> Float[Tensor, "b n d"]:
        values = rearrange(patches, "b p (m c) -> b m p c", m=self.maps)
        return rearrange(
            torch.einsum("bnmp,bmpc->bnmc", self.attention(patches), values), "b n m c -> b n (m c)"
        )
