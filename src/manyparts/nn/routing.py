"""Rows of a batch that go through different modules and are put together again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor


def by_row(
    route: Int[Tensor, "b"] | None,
    num_routes: int,
    apply: Callable[[int, Int[Tensor, "n"]], Tensor],
) -> Tensor:
    """Return what `apply` gives for each row by its own route, (b, ...), in the rows' order.

    Args:
        route: The route of each row.
        num_routes: Number of routes.
        apply: From a route and the indices of its n rows to results (n, ...). It is called for
            routes that have rows only.
    """
    assert route is not None, f"each row has one of {num_routes} routes"
    rows = [(route == number).nonzero()[:, 0] for number in range(num_routes)]
    results = [apply(number, own) for number, own in enumerate(rows) if len(own)]
    # The results are sorted by route. `cat(rows)` is the permutation that sorted them, and argsort
    # of a permutation is its inverse.
    return torch.cat(results)[torch.cat(rows).argsort()]
