"""What training computes in: bfloat16 where the device knows it, and no denormal numbers."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from manyparts.core.records import Precision


def computed_precision(asked: Precision, device: torch.device) -> Precision:
    """ "fp32" instead of "bf16" on x86 processors that have no instructions for it: to imitate them
    costs several times as much as float32 (docs/log.md, 2026-11-27)."""
    return asked if asked == "fp32" or _knows_bf16(device) else "fp32"


@contextlib.contextmanager
def flushed_denormals(device: torch.device) -> Iterator[None]:
    """Within, this thread's numbers too small for float32's usual form count as zero on a CPU, as
    GPUs' fast ones do. Sums of vanishing gradients and of their squares are full of them, and some
    processors take a hundred times as long for each."""
    for kind in ("float32", "float64"):
        np.finfo(
            kind
        )  # numpy measures its numbers when it is first asked, and warns where the smallest are zero
    changed = device.type == "cpu" and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if changed:
            torch.set_flush_denormal(False)


def _knows_bf16(device: torch.device) -> bool:
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextlib.contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """The caller's random state is left as it was; on a CPU only algorithms that repeat to the bit
    are used, and denormal numbers count as zero."""
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        flushed_denormals(device),
    ):
        try:
            if device.type == "cpu":
                torch.use_deterministic_algorithms(True, warn_only=True)
                settings.fill_uninitialized_memory = False
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            settings.fill_uninitialized_memory = fill
