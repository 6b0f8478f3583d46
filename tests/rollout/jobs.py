"""Functions that tests run in worker processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from manyparts.core.errors import UserError


def square(number: int) -> tuple[int, int]:
    return number**2, os.getpid()


def name_threads(_: int) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "LP_NUM_THREADS")}


def name_heavy_modules(_: int) -> list[str]:
    return sorted(
        {"torch", "matplotlib", "pyarrow", "rich", "metaworld", "mujoco"} & sys.modules.keys()
    )


@dataclass(frozen=True)
class Mishap:
    """kind: what goes wrong. file: written while the job runs, and removed if it comes to its
    end."""

    kind: str
    file: Path | None = None


def go_wrong(mishap: Mishap) -> int:
    if mishap.kind == "user error":
        raise UserError("unknown task 'moon/walk'")
    if mishap.kind == "bug":
        raise ZeroDivisionError("one by nought")
    if mishap.kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mishap.kind == "slow" and mishap.file is not None:
        mishap.file.write_text(str(os.getpid()))
        time.sleep(60)
        mishap.file.unlink()
    return os.getpid()
