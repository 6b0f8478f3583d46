"""The numbers that training computes with: bfloat16 where a device supports it, no denormals."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from manyparts.core.records import Precision


def computed_precision(precision: Precision, device: torch.device) -> Precision:
    """The precision that a device computes in.

    It is "fp32" instead of "bf16" on x86 processors without instructions for bfloat16: emulating
    them costs several times as much as float32 (docs/log/speed-and-scale.md).

    Args:
        precision: the configured one.
        device: what computes.
    """
    return precision if _supports_bf16(device) else "fp32"


@contextlib.contextmanager
def flushed_denormals(device: torch.device) -> Iterator[None]:
    """Count this thread's denormal numbers as zero on a CPU while the block runs.

    Denormals are too small for a float's usual form. Running means of vanishing gradients and of
    their squares are full of them, and some processors take a hundred times as long for each.
    """
    for kind in ("float32", "float64"):
        np.finfo(kind)  # its first call measures the smallest numbers, and warns if they are zero
    changed = device.type == "cpu" and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if changed:
            torch.set_flush_denormal(False)


def _supports_bf16(device: torch.device) -> bool:
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextlib.contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Restore the caller's random state after the block. While it runs on a CPU, only deterministic
    algorithms are used, and denormal numbers count as zero."""
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
