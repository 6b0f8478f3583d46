"""What the processor is, as far as the fastest way to compute depends on it."""

from __future__ import annotations

import platform
from pathlib import Path

from manyparts.core.host.cores import ROOT


def is_of_amd(root: Path | None = None) -> bool:
    """Return whether AMD made the processor.

    Args:
        root: The folder that holds `proc`; None for the machine's.
    """
    path = (ROOT if root is None else root) / "proc" / "cpuinfo"
    try:
        described = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        described = platform.processor()
    return "AuthenticAMD" in described


def has_avx512() -> bool:
    """Return whether PyTorch uses AVX-512 here."""
    import torch

    return torch.backends.cpu.get_cpu_capability() == "AVX512"
