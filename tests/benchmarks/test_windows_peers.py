"""How many frames the loaders are compared on: so many that memory and disk hold both sides."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from benchmarks import windows_peers
from benchmarks.memory import available_bytes


@pytest.mark.parametrize(("memory", "disk", "frames"), [(20, 1000, 39_857), (1000, 20, 44_286)])
def test_scarcer_of_memory_and_disk_decides(
    memory: int, disk: int, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(windows_peers, "available_bytes", lambda: memory * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, disk * 10**9))
    assert windows_peers._fitting(224) == pytest.approx(frames, abs=10)


def test_available_memory_is_below_all() -> None:
    assert 2**27 < available_bytes() < 2**44
