"""TokenLearner: many patch tokens to a few, each a weighted mean over positions.

Ryoo et al. 2021, arXiv 2106.11297. Dimensions: b images, p patches, n tokens, m maps per token,
d numbers per token.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class TokenLearner(nn.Module):
    """Learned tokens, each with several attention maps over the patches.

    Args:
        width: Numbers per patch, and per token.
        num_tokens: Tokens per image.
        maps: Attention maps per token, one for each equal part of its channels.
        hidden: Width of the hidden layer of the scores.
        initial_gain: Factor of the scores' initial weights. Maps that start nearly uniform all read
            the mean of the image, and learning to look somewhere takes thousands of steps
            (docs/log/dualmind.md, 2026-11-21).
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
        """Return where each token looks: weights over positions that sum to 1."""
        scores = self.score(self.norm(patches))
        # Token before map: a checkpoint's rows of `scores` are in this order.
        return rearrange(scores, "b p (n m) -> b n m p", n=self.num_tokens).softmax(dim=-1)

    def forward(self, patches: Float[Tensor, "b p d"]) -> Float[Tensor, "b n d"]:
        """Return the tokens. Map m of a token reads the m-th part of the patches' channels."""
        values = rearrange(patches, "b p (m c) -> b m p c", m=self.maps)
        attention = rearrange(self.attention(patches), "b n m p -> b m n p")
        return rearrange(attention @ values, "b m n c -> b n (m c)")
