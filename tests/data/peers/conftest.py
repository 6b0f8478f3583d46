from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[3]
PEERS, SHARED = ROOT / ".peers", ROOT / "scripts" / "peers"
BEFORE_V3 = PEERS / "lerobot-0.3.3"
Run = Callable[..., None]


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a program of ./programs under the other projects' packages."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        pytest.skip(
            "the other projects' loaders are not there; scripts/peers/install.sh installs them"
        )

    def program(name: str, *arguments: object, before_v3: bool = False) -> None:
        paths = [SHARED, BEFORE_V3] if before_v3 else [SHARED]
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        }
        command = [str(python), str(PROGRAMS / name), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert not done.returncode, f"{name}: {done.stderr[-3000:]}"

    return program
