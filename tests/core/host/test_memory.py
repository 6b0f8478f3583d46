"""Memory that is freed at each optimiser step is there at the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource, sys, torch
from manyparts.core.host.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    blocks = [torch.ones(2 * 2**20) for _ in range(12)]  # of 8 MB
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5)
"""


def faults(kind: str) -> int:
    """Return how many pages a step asks the system for."""
    command = [sys.executable, "-c", _STEPS, kind]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_blocks_are_not_asked_for_again() -> None:
    assert faults("kept") < faults("given back") / 4
