"""Pre-norm transformer layers; a mask is True where attention is allowed.

Dimensions: b rows, l or q tokens, k keys, p prompt tokens, d numbers per token.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.nn.linear import Linear
from manyparts.nn.mlp import mlp


class Attention(nn.Module):
    """Multi-head attention from `x` to `context`, or to `x` itself where there is no context."""

    def __init__(
        self, width: int, heads: int, *, context_width: int | None = None, dropout: float = 0.0
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads, self.dropout = heads, dropout
        self.query = Linear(width, width)
        self.key_value = Linear(context_width or width, 2 * width)
        self.output = Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        mask: Bool[Tensor, "..."] | None = None,
        context: Float[Tensor, "b k c"] | None = None,
    ) -> Float[Tensor, "b q d"]:
        """Attend.

        Args:
            x: Tokens that ask.
            mask: Broadcastable to (b, heads, q, k). None: everything is allowed.
            context: Tokens that are asked. None: `x`.
        """
        query = rearrange(self.query(x), "b q (h d) -> b h q d", h=self.heads)
        key, value = rearrange(
            self.key_value(x if context is None else context),
            "b k (two h d) -> two b h k d",
            two=2,
            h=self.heads,
        )
        dropout = self.dropout if self.training else 0.0
        if _fused_is_slow(query):
            # The same formula as below, with the factor 1 / sqrt(d) on the queries.
            scores = query * query.shape[-1] ** -0.5 @ key.mT
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            attended = F.dropout(scores.softmax(dim=-1), dropout) @ value
        else:
            attended = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, dropout_p=dropout
            )
        return self.output(rearrange(attended, "b h q d -> b q (h d)"))


class Block(nn.Module):
    """Self-attention and feed-forward, each behind a layer norm and around a residual connection.

    Args:
        width: Numbers per token.
        heads: Attention heads.
        dropout: Dropout probability.
        expansion: Width of the feed-forward's hidden layer, in widths.
        identity: Start as the identity, so that adding the layer changes nothing.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout: float = 0.0,
        expansion: int = 4,
        identity: bool = False,
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout=dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = mlp([width, expansion * width, width])
        self.dropout = nn.Dropout(dropout)
        if identity:
            _start_as_identity(self.attention, self.feed_forward)

    def forward(
        self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "..."] | None = None
    ) -> Float[Tensor, "b l d"]:
        """Run the layer.

        Args:
            x: Tokens.
            mask: Broadcastable to (b, heads, l, l). None: every token attends to all.
        """
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class CrossBlock(nn.Module):
    """Attention to a prompt and feed-forward; both start as the identity.

    Adding the layer to a trained model changes nothing until it is trained.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0, expansion: int = 4):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout=dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = mlp([width, expansion * width, width])
        self.dropout = nn.Dropout(dropout)
        _start_as_identity(self.attention, self.feed_forward)

    def forward(
        self, x: Float[Tensor, "b l d"], prompt: Float[Tensor, "b p d"], mask: Bool[Tensor, "b p"]
    ) -> Float[Tensor, "b l d"]:
        """Run the layer.

        Args:
            x: Tokens.
            prompt: Tokens of each row's prompt.
            mask: Prompt tokens that are not padding; at least one per row.
        """
        attended = self.attention(self.attention_norm(x), mask[:, None, None, :], prompt)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


def _start_as_identity(attention: Attention, feed_forward: nn.Sequential) -> None:
    """Set the last map of both branches to zero, so that the residual connection is all there is.

    Only the last one: were all zero, no gradient would reach the others.
    """
    for last in (attention.output, feed_forward[-1]):
        for parameter in last.parameters():
            nn.init.zeros_(parameter)


def _fused_is_slow(query: Tensor) -> bool:
    """Whether attention is faster in parts than fused.

    On a CPU in bfloat16 the fused attention, forward and backward, takes two to seven times as long
    as its parts (docs/log/speed-and-scale.md, 2026-11-24).
    """
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
