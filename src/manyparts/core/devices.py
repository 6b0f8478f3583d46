"""Torch devices by name, and how many threads torch computes with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from manyparts.core.errors import UserError
from manyparts.core.host.cores import cores


def choose_device(name: str | torch.device, *, process: int | None = None) -> torch.device:
    """Return the torch device of a name.

    Args:
        name: "cpu", "cuda", "cuda:N", "mps", or "auto": cuda, else mps, else cpu.
        process: This process's number among those of the machine. "cuda" then means the GPU of that
            number.

    Raises:
        UserError: The device is unknown, or the machine has none.
    """
    name = str(name)
    if name == "auto":
        name = _best_device()
    if name == "cuda" and process is not None:
        name = f"cuda:{process}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA raises the latter
        raise UserError(
            f"device {name!r} is not there; choices: auto, cpu, cuda, cuda:N, mps"
        ) from error
    return device


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_threads() -> int:
    """Return torch's number of threads, but no more than the cores that this process may use.

    PyTorch ignores a container's CPU quota, and threads beyond it wait for each other. If
    OMP_NUM_THREADS is set, torch follows it, and so does this.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    return min(torch.get_num_threads(), cores())


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
