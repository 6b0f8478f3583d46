"""Which torch device a name means, and with how many threads it computes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from manyparts.core.errors import UserError
from manyparts.core.host.cores import cores


def choose_device(name: str | torch.device, *, process: int | None = None) -> torch.device:
    """The torch device of that name: "auto" is cuda, else mps, else cpu. process: this one's number
    among the machine's, to which "cuda" gives a GPU of its own. Raises UserError for a device that
    is unknown or not there."""
    name = str(name)
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    if name == "cuda" and process is not None:
        name = f"cuda:{process}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (
        RuntimeError,
        AssertionError,
    ) as error:  # the latter from a torch that was built without CUDA
        raise UserError(
            f"device {name!r} is not there; choices: auto, cpu, cuda, cuda:N, mps"
        ) from error
    return device


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """While the block runs, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_threads() -> int:
    """How many threads torch computes with where nobody asks for a number: no more than the cores
    that we may use.

    PyTorch does not look at a container's CPU quota, and more threads than that wait for each
    other.
    """
    return (
        torch.get_num_threads()
        if os.environ.get("OMP_NUM_THREADS")
        else min(torch.get_num_threads(), cores())
    )
