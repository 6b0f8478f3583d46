"""Causal self-attention over steps with a key-value cache.

The cache has two parts: keys and values that all rows of a batch share and that are stored once,
and those of each row. Dimensions: b rows, h heads, l tokens, d numbers per head.
"""

from __future__ import annotations

import functools

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.nn.linear import Linear
from manyparts.nn.mlp import mlp

_MIN_CAPACITY = 32  # tokens
KeysValues = tuple[Tensor, Tensor]
"""Keys and values, of equal shapes."""
Rotation = tuple[Tensor, Tensor]
"""Two factors (l, d) by which queries and keys are rotated; see `rotation_of`."""


class Past:
    """The key-value cache of one layer.

    Args:
        shared: Keys and values (h, l, d), the same for every row and never copied. None if there
            are none.
    """

    def __init__(self, shared: KeysValues | None = None) -> None:
        self._shared = shared
        self._buffers: KeysValues | None = None  # (h, b, capacity, d), filled up to _used
        self._used = self._forgotten = 0  # tokens

    @property
    def shared(self) -> KeysValues | None:
        """The shared keys and values that are not forgotten."""
        if self._shared is None or self._forgotten >= self._shared_length:
            return None
        return self._shared[0][:, self._forgotten :], self._shared[1][:, self._forgotten :]

    @property
    def own(self) -> KeysValues:
        """Each row's own keys and values (h, b, l, d) that are not forgotten."""
        assert self._buffers is not None
        # Tokens are counted from the first shared one: rows lose their own after all of those.
        first = max(0, self._forgotten - self._shared_length)
        return self._buffers[0][:, :, first : self._used], self._buffers[1][
            :, :, first : self._used
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of the rows' own keys and values, with the capacity that is kept for more."""
        return 0 if self._buffers is None else sum(part.nbytes for part in self._buffers)

    def forget(self, count: int) -> None:
        """Stop attending to the first `count` of all tokens, shared ones first."""
        self._forgotten = max(self._forgotten, count)

    def append(self, key: Float[Tensor, "h b l d"], value: Float[Tensor, "h b l d"]) -> KeysValues:
        """Add keys and values behind each row's own.

        Args:
            key: Keys of l new tokens per row.
            value: Values of the same tokens.

        Returns:
            Each row's own keys and values that are not forgotten, see `own`.
        """
        h, b, length, d = key.shape
        used = self._used + length
        if self._buffers is None or used > self._buffers[0].shape[2]:
            # Doubling the capacity makes the copies cost a constant time per token.
            wider = [key.new_empty(h, b, max(_MIN_CAPACITY, 2 * used), d) for _ in range(2)]
            if self._buffers is not None:
                for new, old in zip(wider, self._buffers, strict=True):
                    new[:, :, : self._used] = old[:, :, : self._used]
            self._buffers = (wider[0], wider[1])
        for buffer, new in zip(self._buffers, (key, value), strict=True):
            buffer[:, :, self._used : used] = new
        self._used = used
        return self.own

    def remove_last(self, count: int) -> None:
        """Undo the addition of the last `count` of the rows' own tokens."""
        self._used -= count  # the memory is overwritten by what comes next

    @property
    def _shared_length(self) -> int:
        return 0 if self._shared is None else self._shared[0].shape[1]


class CachedBlock(nn.Module):
    """A pre-norm transformer layer with a cache of its past.

    Positions are steps, encoded by rotating queries and keys (Su et al. 2021, arXiv 2104.09864).
    Scores depend on differences of steps only, so cached keys stay valid when the oldest steps go.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of twice the heads, {heads}")
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = Linear(width, 3 * width)
        self.output = Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = mlp([width, 4 * width, width])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        rotation: Rotation,
        mask: Bool[Tensor, "..."] | None,
        past: Past | None = None,
    ) -> Float[Tensor, "b l d"]:
        """Run the layer.

        Args:
            x: Tokens.
            rotation: `rotation_of` the tokens' steps, the same for all layers.
            mask: Which tokens of `x` each of them attends to, True where allowed; broadcastable to
                (b, h, l, l), and of shape (l, l) with a past. None: all.
            past: The tokens before `x`, to which all attend. The keys and values of `x` are added
                to it.
        """
        projected = self.query_key_value(self.attention_norm(x))
        # With a past, heads come before rows: the product with shared keys is then one matrix
        # product per head over all rows.
        order = "three b h l d" if past is None else "three h b l d"
        parts = rearrange(projected, f"b l (three h d) -> {order}", three=3, h=self.heads)
        (query, key), value = _rotate(parts[:2], rotation), parts[2]
        if past is None:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            attended = _attend(query, past, past.append(key, value), mask).transpose(0, 1)
        x = x + self.dropout(self.output(rearrange(attended, "b h l d -> b l (h d)")))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


def _attend(
    query: Float[Tensor, "h b l d"],
    past: Past,
    own: KeysValues,
    mask: Bool[Tensor, "l l"] | None,
) -> Float[Tensor, "h b l d"]:
    """Attend to shared tokens and to each row's own, without repeating shared ones for each row."""
    length, (key, value) = query.shape[2], own
    query = query * query.shape[-1] ** -0.5
    scores = query @ key.mT
    if mask is not None:
        # Only the new tokens, which are the last ones, may be hidden from each other.
        scores[..., -length:] = scores[..., -length:].masked_fill(~mask, -torch.inf)
    if past.shared is None:
        return scores.softmax(dim=-1) @ value
    shared_key, shared_value = past.shared
    # Rows and tokens are joined: (h, b l, d) @ (h, d, shared) is one product per head.
    shared_scores = (query.flatten(1, 2) @ shared_key.mT).view(*query.shape[:3], -1)
    # One softmax over both parts, as if the shared keys stood before each row's own.
    weights = torch.cat([shared_scores, scores], dim=-1).softmax(dim=-1)
    shared_weights, own_weights = weights.split([shared_scores.shape[-1], scores.shape[-1]], dim=-1)
    from_shared = (shared_weights.flatten(1, 2) @ shared_value).view(query.shape)
    return from_shared + own_weights @ value


def rotation_of(steps: Int[Tensor, "l"], width: int) -> Rotation:
    """Return the factors that rotate queries and keys by the angles of their steps.

    Args:
        steps: The step of each token.
        width: Numbers per head; even.

    Returns:
        Two factors (l, width): cosines, and sines, which are negated in the first half.
    """
    angles = steps[:, None] * _frequencies(width, steps.device)
    sine = angles.sin()
    return angles.cos().repeat(1, 2), torch.cat([-sine, sine], dim=-1)


@functools.lru_cache(maxsize=8)
# An inference tensor in the cache could not be used in training later.
@torch.inference_mode(False)
def _frequencies(width: int, device: torch.device) -> Float[Tensor, "w"]:
    """Return the angle per step of each pair of numbers, from 1 down to about 1/1000."""
    return 1000.0 ** (-torch.arange(width // 2, device=device) / (width // 2))


def _rotate(x: Float[Tensor, "... l d"], rotation: Rotation) -> Float[Tensor, "... l d"]:
    """Rotate each number of the first half of d with its partner in the second half."""
    cosine, signed_sine = rotation
    # Rolling by half swaps the partners: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin).
    return (x * cosine + x.roll(x.shape[-1] // 2, dims=-1) * signed_sine).to(x.dtype)
