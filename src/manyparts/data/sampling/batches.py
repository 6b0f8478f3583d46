"""Joining of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor


def join_batches(parts: Sequence[Any], order: Tensor) -> Any:
    """Concatenate batches, or records within them, and then put the rows in `order`.

    Args:
        parts: records of one class. A camera that some of them lack is zeros there, and a tensor of
            bools that some of them lack, such as `Batch.terminated`, is false.
        order: int64 (rows of all parts,), for each row of the result its index in the
            concatenation.
    """
    joined: dict[str, Any] = {}
    for item in fields(parts[0]):
        values = _with_missing([getattr(part, item.name) for part in parts], parts)
        if isinstance(values[0], Tensor):
            joined[item.name] = torch.cat(values)[order]
        elif isinstance(values[0], Mapping):
            joined[item.name] = _join_cameras(values, [len(part.mask) for part in parts], order)
        elif isinstance(values[0], tuple):
            rows = list(chain.from_iterable(values))
            joined[item.name] = tuple(rows[index] for index in order.tolist())
        else:
            joined[item.name] = None if values[0] is None else join_batches(values, order)
    return type(parts[0])(**joined)


def _with_missing(values: Sequence[Any], parts: Sequence[Any]) -> list[Any]:
    """The values of one field, with false where some parts lack a tensor of bools."""
    example = next((value for value in values if value is not None), None)
    if not isinstance(example, Tensor) or example.dtype != torch.bool:
        return list(values)
    return [
        example.new_zeros(len(part.mask), *example.shape[1:]) if value is None else value
        for value, part in zip(values, parts, strict=True)
    ]


def _join_cameras(
    parts: Sequence[Mapping[str, Tensor]], counts: Sequence[int], order: Tensor
) -> dict[str, Tensor]:
    """Cameras of several parts, which have `counts` rows."""
    examples: dict[str, Tensor] = {}
    for part in parts:
        examples.update(part)
    joined = {}
    for name, example in sorted(examples.items()):
        tensors = [
            part[name] if name in part else example.new_zeros(count, *example.shape[1:])
            for part, count in zip(parts, counts, strict=True)
        ]
        joined[name] = torch.cat(tensors)[order]
    return joined
