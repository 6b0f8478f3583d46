"""Memory that is freed at each optimiser step is there at the next one."""

from __future__ import annotations

import os
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
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


def faults(kind: str) -> int:
    """Return how many pages a step asks the system for."""
    command = [sys.executable, "-c", _STEPS, kind]
    # By default it is chance whether glibc keeps these blocks; with this it never does.
    gives_back = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(command, env=gives_back, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_blocks_are_not_asked_for_again() -> None:
    assert faults("given back") > 10_000
    assert faults("kept") < 1000
