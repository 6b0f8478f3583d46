"""Who may attend to whom in a sequence of steps: observation tokens (visual, then state) and an
action token each."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

AttentionPattern = Literal["causal", "inverse", "visual", "full"]


def attention_pattern(
    pattern: AttentionPattern, *, steps: int, visual: int, device: torch.device | None = None
) -> Bool[Tensor, "l l"]:
    """The mask (query, key) over steps * (visual + 2) tokens, True where attention is allowed.

    causal: observation tokens of step t see the observations up to t, all of them, and the actions
    before t; the action token sees these and itself. inverse: the same, but observation tokens of t
    do not see the action of t - 1, so that it can be predicted from them. visual: inverse, and
    visual tokens see visual tokens alone, so that nothing but pixels tells the action. full:
    everything sees everything.
    """
    width = visual + 2
    token = torch.arange(steps * width, device=device)
    step, slot = token // width, token % width
    is_action, is_visual = slot == width - 1, slot < visual
    query, key = step[:, None], step[None, :]
    if pattern == "full":
        return torch.ones(len(token), len(token), dtype=torch.bool, device=device)
    sees_actions_before = torch.where(
        is_action[:, None], query + 1, query - (pattern != "causal") * 1
    )
    allowed = torch.where(is_action[None, :], key < sees_actions_before, key <= query)
    if pattern == "visual":
        allowed &= ~is_visual[:, None] | is_visual[None, :]
    return allowed


def without_absent(
    allowed: Bool[Tensor, "..."], real: Bool[Tensor, "b l"]
) -> Bool[Tensor, "b 1 l l"]:
    """The mask of streams in which some tokens are not real: nobody sees those, but each sees
    itself, so that softmax has a key. allowed: broadcastable to (b, 1, l, l)."""
    itself = torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
    return (allowed & real[:, None, None, :]) | itself


def with_prefix(allowed: Bool[Tensor, "..."], real: Bool[Tensor, "b p"]) -> Bool[Tensor, "b 1 n n"]:
    """The mask of a stream behind a prefix of p tokens, of which some are real: n = p + l.

    allowed: who sees whom in the stream, broadcastable to (b, 1, l, l). The stream sees the real
    prefix; the prefix sees its own real tokens alone, so that it is the same whatever comes after
    it.
    """
    (b, p), length = real.shape, allowed.shape[-1]
    keys = real[:, None, None]
    blind = torch.zeros(b, 1, p, length, dtype=torch.bool, device=real.device)
    above = torch.cat([keys.expand(b, 1, p, p), blind], dim=-1)
    below = torch.cat([keys.expand(b, 1, length, p), allowed.expand(b, 1, length, length)], dim=-1)
    return torch.cat([above, below], dim=-2)
