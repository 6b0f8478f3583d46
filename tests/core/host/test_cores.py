"""Cores that this process may use, as the system and its container say."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
import torch

import manyparts
from manyparts.core import devices
from manyparts.core.host import cores as module
from manyparts.core.host.cores import cores, cpu_quota

MACOS_LACKS = {
    *(
        "sched_getaffinity",
        "sched_setaffinity",
        "sched_getscheduler",
        "sched_setscheduler",
        "posix_fallocate",
    ),
    *(
        "posix_fadvise",
        "preadv",
        "pwritev",
        "memfd_create",
        "eventfd",
        "pidfd_open",
        "copy_file_range",
        "splice",
    ),
    *("pipe2", "setns", "unshare", "getrandom", "fdatasync"),
}


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


SECOND = {"proc/self/cgroup": "0::/jobs/mine\n"}
FIRST = {"proc/self/cgroup": "3:cpuset:/\n4:cpu,cpuacct:/docker/0a1b\n"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (SECOND | {"sys/fs/cgroup/jobs/mine/cpu.max": "max 100000\n"}, None),
        (SECOND | {"sys/fs/cgroup/jobs/mine/cpu.max": "200000 100000\n"}, 2.0),
        (
            SECOND
            | {
                "sys/fs/cgroup/jobs/mine/cpu.max": "max 100000",
                "sys/fs/cgroup/jobs/cpu.max": "50000 100000",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0),
        (SECOND | {"sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
        (
            FIRST
            | {
                f"sys/fs/cgroup/cpu/cpu.cfs_{k}_us": v
                for k, v in (("quota", "150000"), ("period", "100000"))
            },
            1.5,
        ),
        (
            FIRST
            | {
                f"sys/fs/cgroup/cpu/cpu.cfs_{k}_us": v
                for k, v in (("quota", "-1"), ("period", "100000"))
            },
            None,
        ),
    ],
    ids=[
        "none",
        "no bound",
        "own",
        "group above",
        "container",
        "unreadable",
        "version 1",
        "version 1 no bound",
    ],
)
def test_a_containers_quota_is_read(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert cpu_quota(machine(tmp_path, files)) == quota


@pytest.mark.parametrize(("quota", "expected"), [("100000", 1), ("250000", 3), ("6400000", 4)])
def test_smaller_of_quota_and_cores_counts(
    tmp_path: Path, monkeypatch, quota: str, expected: int
) -> None:
    monkeypatch.setattr(module, "allowed_cores", lambda: 4)
    files = SECOND | {"sys/fs/cgroup/jobs/mine/cpu.max": f"{quota} 100000\n"}
    monkeypatch.setattr(module, "ROOT", machine(tmp_path, files))
    assert cores() == expected


def test_macos_without_affinity_counts_all_cores(monkeypatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.setattr(module, "cpu_quota", lambda: None)
    assert cores() == 12


def test_torch_threads_stay_within_cores(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(devices, "cores", lambda: 2)
    assert devices.default_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert devices.default_threads() == 64, "the user's own number"


def test_missing_functions_are_checked_first() -> None:
    """A function that calls one of these looks with `hasattr` whether it is there, or catches its
    absence."""
    for path in Path(manyparts.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                used = {
                    node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)
                } & MACOS_LACKS
                asked = {
                    node.value for node in ast.walk(function) if isinstance(node, ast.Constant)
                }
                caught = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                guarded = (
                    used <= asked or "AttributeError" in caught or "sched_getscheduler" in asked
                )
                assert guarded, (
                    f"{path}:{function.lineno}: {', '.join(used - asked)} is not on macOS"
                )
