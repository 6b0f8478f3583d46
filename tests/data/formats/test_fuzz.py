"""Mutated files of every format: never a crash, a hang, unbounded memory, or another error than
ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FORMATS = (
    "robomimic",
    "npz",
    "aloha",
    "libero",
    "d4rl",
    "ogbench",
    "ogbench-numbers",
    "minari",
    "minari-arrow",
    "minari-parquet",
    "rlds",
    "lerobot-2.0",
    "lerobot-2.1",
    "lerobot-3.0",
    "lerobot-video",
    "lerobot-texts",
    "zarr",
    "zarr-3",
    "zarr-video",
    "umi",
    "bag-sqlite3",
    "bag-mcap",
    "editing",
    "editing-foreign",
)

# Each of their cases starts a process for each file, or opens a bag.
FEWER = (
    "aloha",
    "libero",
    "d4rl",
    "robomimic",
    "minari",
    "editing-foreign",
    "bag-sqlite3",
    "bag-mcap",
)

# Another format here is read by the same code.
SIMILAR = ("libero", "ogbench-numbers", "minari-arrow", "minari-parquet", "lerobot-2.0", "zarr-3")
SIMILAR += ("lerobot-texts", "umi", "bag-mcap", "editing-foreign", "aloha", "d4rl", "lerobot-2.1")


def fuzz(name: str, folder: Path, *, cases: int, seed: int) -> str:
    script = Path(__file__).with_name("fuzzing.py")
    command = [sys.executable, str(script), name, str(cases), str(seed), str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
    last = folder / "last-case.txt"
    assert done.returncode == 0, (
        f"{last.read_text() if last.exists() else ''}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SIMILAR)) for name in FORMATS]
)
def test_mutated_files_read_or_refused(name: str, tmp_path: Path) -> None:
    assert "refused" in fuzz(name, tmp_path, cases=3 if name in FEWER else 8, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_mutated_files(name: str, tmp_path: Path) -> None:
    assert "refused" in fuzz(name, tmp_path, cases=500 if name.startswith("bag-") else 3000, seed=1)
