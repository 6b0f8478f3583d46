"""Batches put together from parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor


def join_batches(parts: Sequence[Any], order: Tensor) -> Any:
    """Batches, or the records in them, one after the other and then in `order`. A camera that some
    lack is zeros there."""
    joined: dict[str, Any] = {}
    for item in fields(parts[0]):
        values = [getattr(part, item.name) for part in parts]
        if isinstance(values[0], Tensor):
            joined[item.name] = torch.cat(values)[order]
        elif isinstance(values[0], Mapping):
            like = {name: tensor for value in values for name, tensor in value.items()}
            counts = [len(part.mask) for part in parts]
            joined[item.name] = {
                name: torch.cat(
                    [
                        value[name] if name in value else tensor.new_zeros(count, *tensor.shape[1:])
                        for value, count in zip(values, counts, strict=True)
                    ]
                )[order]
                for name, tensor in sorted(like.items())
            }
        elif isinstance(values[0], tuple):
            flat = [each for value in values for each in value]
            joined[item.name] = tuple(flat[place] for place in order.tolist())
        else:
            joined[item.name] = None if values[0] is None else join_batches(values, order)
    return type(parts[0])(**joined)
