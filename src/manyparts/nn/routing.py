"""Rows of a batch that go different ways and come together again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor


def by_row(
    way: Int[Tensor, "b"] | None, ways: int, go: Callable[[int, Int[Tensor, "n"]], Tensor]
) -> Tensor:
    """What `go(number, rows)` gives for the rows of each way that occurs, (n, ...), in the rows'
    order: (b, ...)."""
    assert way is not None, f"each row has one of {ways} ways to go"
    rows = [(way == number).nonzero()[:, 0] for number in range(ways)]
    gone = [go(number, mine) for number, mine in enumerate(rows) if len(mine)]
    return torch.cat(gone)[torch.cat(rows).argsort()]
