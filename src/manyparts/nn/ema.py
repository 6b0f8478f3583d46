"""An exponential moving average of a module, kept as a separate copy without gradients."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def detached_copy(module: ModuleType) -> ModuleType:
    """Return a copy without gradients, in evaluation mode, that shares no tensor with `module`."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def move_towards(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Set each parameter to (1 - rate) target + rate source; buffers are copied.

    Args:
        target: The moving average, which is changed.
        source: A module of the same structure.
        rate: Fraction of the way towards `source`, from 0 to 1.
    """
    for average, current in zip(target.parameters(), source.parameters(), strict=True):
        average.lerp_(current, rate)
    # Buffers may be counters, and an average of counters means nothing.
    for average, current in zip(target.buffers(), source.buffers(), strict=True):
        average.copy_(current)
