"""Rows go their ways and come back in their order."""

from __future__ import annotations

import torch

from manyparts.nn.routing import by_row


def test_rows_return_in_their_order() -> None:
    way, values = torch.tensor([2, 0, 2, 2, 0]), torch.arange(5.0, requires_grad=True)
    gone = by_row(way, 4, lambda number, rows: values[rows] * (10 * number + 1))
    assert gone.tolist() == [0.0, 1.0, 42.0, 63.0, 4.0]
    gone.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [21.0, 1.0, 21.0, 21.0, 1.0]
