"""Causal self-attention over steps, whose past is kept: once for all rows of a batch, and each
row's own."""

from __future__ import annotations

import functools

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.nn.mlp import mlp

_FIRST_ROOM = 32
Turns = tuple[Tensor, Tensor]


class Past:
    """Keys and values of one layer. shared: (h, l, d), the same for every row, never copied; own:
    (h, b, m, d)."""

    def __init__(self, shared: tuple[Tensor, Tensor] | None = None) -> None:
        self._shared = shared
        self._room: tuple[Tensor, Tensor] | None = None
        self._used = self._gone = 0

    @property
    def shared(self) -> tuple[Tensor, Tensor] | None:
        if self._shared is None or self._gone >= self._length:
            return None
        return self._shared[0][:, self._gone :], self._shared[1][:, self._gone :]

    @property
    def own(self) -> tuple[Tensor, Tensor]:
        assert self._room is not None
        first = max(0, self._gone - self._length)
        return self._room[0][:, :, first : self._used], self._room[1][:, :, first : self._used]

    @property
    def nbytes(self) -> int:
        """What rows' own keys and values take, with the room that is kept for more."""
        return 0 if self._room is None else sum(part.nbytes for part in self._room)

    def forget(self, count: int) -> None:
        """From now on the first `count` of all keys and values, shared ones first, are not attended
        to."""
        self._gone = max(self._gone, count)

    def append(
        self, key: Float[Tensor, "h b l d"], value: Float[Tensor, "h b l d"]
    ) -> tuple[Tensor, Tensor]:
        """Put rows' own keys and values behind those before; returns those that are not
        forgotten."""
        h, b, length, d = key.shape
        used = self._used + length
        if self._room is None or used > self._room[0].shape[2]:
            wider = [key.new_empty(h, b, max(_FIRST_ROOM, 2 * used), d) for _ in range(2)]
            if self._room is not None:
                for new, old in zip(wider, self._room, strict=True):
                    new[:, :, : self._used] = old[:, :, : self._used]
            self._room = (wider[0], wider[1])
        for room, new in zip(self._room, (key, value), strict=True):
            room[:, :, self._used : used] = new
        self._used = used
        return self.own

    def take_back(self, count: int) -> None:
        """As if the last `count` of rows' own had never been put there."""
        self._used -= count

    @property
    def _length(self) -> int:
        return 0 if self._shared is None else self._shared[0].shape[1]


class CachedBlock(nn.Module):
    """A pre-norm layer. Positions are steps, by rotation of queries and keys (Su et al. 2021, arXiv
    2104.09864), so what is kept stays true when the oldest steps go."""

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of twice the heads, {heads}")
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = mlp([width, 4 * width, width])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        turns: Turns,
        mask: Bool[Tensor, "..."] | None,
        past: Past | None = None,
    ) -> Float[Tensor, "b l d"]:
        """turns: `turns_of` the steps that tokens belong to, the same for all layers. mask: which
        tokens of `x` each of them attends to, broadcastable to (b, h, l, l), with a past (l, l);
        None: all. past: what is before `x`, to which all attend and where `x` is then added."""
        found = self.query_key_value(self.attention_norm(x))
        order = (
            "three b h l d" if past is None else "three h b l d"
        )  # so what rows share is one product a head
        parts = rearrange(found, f"b l (three h d) -> {order}", three=3, h=self.heads)
        (query, key), value = _rotate(parts[:2], turns), parts[2]
        if past is None:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            attended = _attend(query, past, past.append(key, value), mask).transpose(0, 1)
        x = x + self.dropout(self.output(rearrange(attended, "b h l d -> b l (h d)")))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


def _attend(
    query: Float[Tensor, "h b l d"],
    past: Past,
    own: tuple[Tensor, Tensor],
    mask: Bool[Tensor, "l l"] | None,
) -> Float[Tensor, "h b l d"]:
    """Attention to what is shared and to each row's own. The shared part is one product for all
    rows: nothing is repeated for them."""
    length, (key, value) = query.shape[2], own
    query = query * query.shape[-1] ** -0.5
    scores = query @ key.mT
    if mask is not None:
        scores[..., -length:] = scores[..., -length:].masked_fill(~mask, -torch.inf)
    if past.shared is None:
        return scores.softmax(dim=-1) @ value
    shared_key, shared_value = past.shared
    before = (query.flatten(1, 2) @ shared_key.mT).view(*query.shape[:3], -1)
    weights = torch.cat([before, scores], dim=-1).softmax(dim=-1)
    before, since = weights.split([before.shape[-1], scores.shape[-1]], dim=-1)
    return (before.flatten(1, 2) @ shared_value).view(query.shape) + since @ value


def turns_of(steps: Int[Tensor, "l"], width: int) -> Turns:
    """Of each step and each of a head's `width` numbers: what turns it by the step's angle, two (l,
    width)."""
    angles = steps[:, None] * _rates(width, steps.device)
    sine = angles.sin()
    return angles.cos().repeat(1, 2), torch.cat([-sine, sine], dim=-1)


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def _rates(width: int, device: torch.device) -> Float[Tensor, "w"]:
    return 1000.0 ** (-torch.arange(width // 2, device=device) / (width // 2))


def _rotate(x: Float[Tensor, "... l d"], turns: Turns) -> Float[Tensor, "... l d"]:
    """Each of the first half of d numbers with its partner in the second half."""
    own, partners = turns
    return (x * own + x.roll(x.shape[-1] // 2, dims=-1) * partners).to(x.dtype)
