"""Two nodes of Ray on this machine, and commands that use them, in the environment of
scripts/peers/install_ray.sh. `ray stop` would end every Ray of the machine, so each node is a
process group that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".peers-ray" / "bin" / "python"
_MEMORY = 80_000_000  # bytes of each node's object store, which nothing here uses


def wait_until(holds: Callable[[], bool], seconds: float = 600) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.02)


def environment(source: Path = ROOT / "src", **variables: str) -> dict[str, str]:
    paths = os.pathsep.join([str(source), str(ROOT / "tests")])
    fixed = {"PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    return os.environ | fixed | variables


class Cluster:
    """A cluster of which every node has one core."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        self.address = f"ray://{self.host}"
        self.nodes: list[subprocess.Popen[str]] = []
        self._commands: list[subprocess.Popen[str]] = []
        # Sockets' paths must be short.
        self._sessions = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp")
        self.add("--head", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats",
                 f"--temp-dir={self._sessions.name}")  # fmt: skip

    def add(
        self, *flags: str, source: Path = ROOT / "src", before: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        """Start a node, and return it once it is there.

        Args:
            flags: Those of a head; empty: it joins.
            source: What it imports this package from.
            before: Words before its command.
        """
        words = [*before, str(PYTHON.parent / "ray"), "start", "--block", "--num-cpus=1"]
        words += ["--node-ip-address=127.0.0.1", f"--object-store-memory={_MEMORY}"]
        words += flags or (f"--address={self.host}",)
        cache = self.folder / f"cache-of-node-{len(self.nodes)}"
        node = subprocess.Popen(
            words,
            env=environment(source, MANYPARTS_CACHE=str(cache)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.nodes.append(node)
        lines: list[str] = []
        assert node.stdout is not None
        for line in node.stdout:
            lines.append(line)
            if "Ray runtime started" in line:
                break
        else:
            raise AssertionError("".join(lines))
        threading.Thread(target=node.stdout.read, daemon=True).start()
        return node

    def kill(self, node: subprocess.Popen[str]) -> None:
        """`kill -9` for all processes of a node at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()
        self.nodes.remove(node)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start `python ARGUMENTS` in a process group of its own. It is killed in the end."""
        process = subprocess.Popen(
            [str(PYTHON), *map(str, arguments)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self._commands.append(process)
        return process

    def command(self, *arguments: object, code: int = 0) -> str:
        """Run `manyparts ARGUMENTS`, which ends with this code, and return what it prints."""
        process = self.start("-m", "manyparts", *arguments)
        printed, errors = process.communicate(timeout=900)
        assert process.returncode == code, (process.returncode, printed, errors[-3000:])
        return printed + errors

    def close(self) -> None:
        for process in self._commands:
            process.kill()
        for node in self.nodes[::-1]:
            self.kill(node)
        self._sessions.cleanup()


def runs_on(process: int, node: subprocess.Popen[str]) -> bool:
    """Whether a process is one of a node: below Ray's worker, which is below the node's command."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(above.pid == node.pid for above in psutil.Process(process).parents())
    return False


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes."""
    if not PYTHON.exists():
        pytest.skip("Ray is not there; scripts/peers/install_ray.sh installs it")
    if sys.platform != "linux":
        pytest.skip("several nodes on one machine are for Linux")
    started = Cluster(tmp_path_factory.mktemp("ray"))
    try:
        started.add()
        yield started
    finally:
        started.close()
