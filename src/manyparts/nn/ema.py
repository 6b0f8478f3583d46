"""An exponential moving average of a module, apart from it and without gradient."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

ModuleType = TypeVar("ModuleType", bound=nn.Module)


def detached_copy(module: ModuleType) -> ModuleType:
    """A copy that shares no tensor with `module`, takes no gradient and stays in evaluation
    mode."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def move_towards(target: nn.Module, source: nn.Module, rate: float) -> None:
    """target <- (1 - rate) target + rate source, for parameters; buffers are copied."""
    for ours, theirs in zip(target.parameters(), source.parameters(), strict=True):
        ours.lerp_(theirs, rate)
    for ours, theirs in zip(target.buffers(), source.buffers(), strict=True):
        ours.copy_(theirs)
