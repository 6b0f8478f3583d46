"""Rows of a batch through different modules."""

from __future__ import annotations

import torch

from manyparts.nn.routing import by_row


def test_rows_return_in_their_order() -> None:
    route, values = torch.tensor([2, 0, 2, 2, 0]), torch.arange(5.0, requires_grad=True)
    results = by_row(route, 4, lambda number, rows: values[rows] * (10 * number + 1))
    assert results.tolist() == [0.0, 1.0, 42.0, 63.0, 4.0]
    results.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [21.0, 1.0, 21.0, 21.0, 1.0]
