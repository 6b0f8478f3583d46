"""Windows and prompts of several episodes as the rows of one, for a policy that decides for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from manyparts.models.control_transformer import Tokens
from manyparts.models.prompt_encoder import PromptTokens


def joined(parts: Sequence[Tokens], dim: int) -> Tokens:
    """Return tokens after each other along a dimension.

    Args:
        parts: Of several steps or episodes.
        dim: 0 for rows, 1 for steps.
    """
    names = ("visual", "state", "action")
    return Tokens(*(torch.cat([getattr(part, name) for part in parts], dim=dim) for name in names))


def together(windows: Sequence[Tokens]) -> Tokens:
    """Return windows of equal length as the rows of one.

    Args:
        windows: One row each.
    """
    return windows[0] if len(windows) == 1 else joined(windows, dim=0)


def prompts_together(prompts: Sequence[PromptTokens | None]) -> PromptTokens | None:
    """Return the tokens of prompts as rows, padded to the longest; None if there are none.

    Args:
        prompts: One row each.
    """
    given = [prompt for prompt in prompts if prompt is not None]
    if len(given) <= 1:
        return given[0] if given else None
    longest = max(prompt.mask.shape[1] for prompt in given)
    missing = [longest - prompt.mask.shape[1] for prompt in given]
    pairs = list(zip(given, missing, strict=True))
    return PromptTokens(
        torch.cat([F.pad(each.tokens, (0, 0, 0, count)) for each, count in pairs]),
        torch.cat([F.pad(each.mask, (0, count)) for each, count in pairs]),
    )
