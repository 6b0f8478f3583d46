"""Attention masks: which token (query, the row) may attend to which (key, the column).

A mask is True where attention is allowed. In a control transformer's stream each step has its
observation tokens (visual, then state) and an action token. In a dynamics transformer's stream a
token is known by its step alone.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from manyparts.nn.patterns import AttentionPattern


def attention_pattern(
    pattern: AttentionPattern, *, steps: int, visual: int, device: torch.device | None = None
) -> Bool[Tensor, "l l"]:
    """Return the mask over steps * (visual + 2) tokens.

    Args:
        pattern: "causal": observation tokens of step t attend to all observations up to t and to
            the actions before t; the action token attends to these and to itself. "inverse": as
            causal, but observation tokens of t do not attend to the action of t - 1, so that it can
            be predicted from them. "visual": as inverse, and visual tokens attend to visual tokens
            alone, so that the action is predicted from pixels only. "full": everything attends to
            everything.
        steps: Number of steps.
        visual: Visual tokens per step.
        device: Device of the mask.
    """
    width = visual + 2  # of a step: visual tokens, the state token, the action token
    token = torch.arange(steps * width, device=device)
    step, slot = token // width, token % width
    is_action, is_visual = slot == width - 1, slot < visual
    query, key = step[:, None], step[None, :]
    if pattern == "full":
        return torch.ones(len(token), len(token), dtype=torch.bool, device=device)
    # The first step with an action that a query may not see: an action token sees its own, so it is
    # t + 1; an observation token sees those before t, one fewer where the last is to be inferred.
    first_hidden_action = torch.where(
        is_action[:, None], query + 1, query - (pattern != "causal") * 1
    )
    # Of whole numbers, since runtimes of exported models choose between no truths.
    allowed = key <= torch.where(is_action[None, :], first_hidden_action - 1, query)
    if pattern == "visual":
        allowed &= ~is_visual[:, None] | is_visual[None, :]
    return allowed


def without_absent(
    allowed: Bool[Tensor, "..."], real: Bool[Tensor, "b l"]
) -> Bool[Tensor, "b 1 l l"]:
    """Return the mask of streams in which some tokens are absent.

    Args:
        allowed: The mask without absences, broadcastable to (b, 1, l, l).
        real: Tokens that are present. No other token attends to an absent one.
    """
    # Each token sees itself: softmax over no key at all would be nan, also in the gradient.
    # Not `eye` of truths, which runtimes of exported models lack.
    number = torch.arange(real.shape[1], device=real.device)
    return (allowed & real[:, None, None, :]) | (number[:, None] == number)


def with_prefix(allowed: Bool[Tensor, "..."], real: Bool[Tensor, "b p"]) -> Bool[Tensor, "b 1 n n"]:
    """Return the mask of a stream of l tokens behind a prefix of p tokens: n = p + l.

    Args:
        allowed: The mask of the stream, broadcastable to (b, 1, l, l).
        real: Prefix tokens that are not padding. The stream attends to these. The prefix attends to
            these alone, so that it does not depend on what follows it.
    """
    # Layout, queries in rows:   prefix | stream
    #               prefix        real  |  False
    #               stream        real  | allowed
    (b, p), length = real.shape, allowed.shape[-1]
    keys = real[:, None, None]
    blind = torch.zeros(b, 1, p, length, dtype=torch.bool, device=real.device)
    above = torch.cat([keys.expand(b, 1, p, p), blind], dim=-1)
    below = torch.cat([keys.expand(b, 1, length, p), allowed.expand(b, 1, length, length)], dim=-1)
    return torch.cat([above, below], dim=-2)


def sliding_window(steps: Int[Tensor, "l"], window: int) -> Bool[Tensor, "l l"]:
    """Return a causal mask in which each token attends to the last `window` steps, its own too.

    Args:
        steps: The step of each token, in the order of the stream.
        window: Number of steps.
    """
    causal = torch.ones(len(steps), len(steps), dtype=torch.bool, device=steps.device).tril()
    return causal & (steps[:, None] - steps < window)


def with_queries(allowed: Bool[Tensor, "l l"], seen: Bool[Tensor, "q l"]) -> Bool[Tensor, "n n"]:
    """Return the mask of a stream followed by q query tokens: n = l + q.

    Args:
        allowed: The mask of the stream, which attends to no query.
        seen: Tokens of the stream that each query attends to, besides itself.
    """
    # Layout, queries in rows:    stream  | queries
    #               stream       allowed  |  False
    #               queries       seen    | identity
    count = len(seen)
    alone = torch.eye(count, dtype=torch.bool, device=seen.device)
    left = torch.cat([allowed, seen])
    right = torch.cat([alone.new_zeros(len(allowed), count), alone])
    return torch.cat([left, right], dim=1)
