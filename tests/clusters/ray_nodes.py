"""Two nodes of Ray on this machine, in the environment of scripts/peers/install_ray.sh. `ray stop`
would end every Ray of the machine, so each node is a process group that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
from clusters.commands import ROOT, Commands, environment

PYTHON = ROOT / ".peers-ray" / "bin" / "python"
_MEMORY = 80_000_000  # bytes of each node's object store, which nothing here uses


class Ray(Commands):
    """A cluster of which every node has one core: a head, and one that may die."""

    def __init__(self, folder: Path) -> None:
        if not PYTHON.exists():
            pytest.skip("Ray is not there; scripts/peers/install_ray.sh installs it")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        super().__init__(PYTHON, f"ray://{self.host}")
        self._folder = folder
        self._nodes: list[subprocess.Popen[str]] = []
        # Sockets' paths must be short.
        self._sessions = tempfile.TemporaryDirectory(
            prefix="ray", dir="/tmp", ignore_cleanup_errors=True
        )
        flags = ("--head", f"--port={port}", "--include-dashboard=false")
        self.add(*flags, "--disable-usage-stats", f"--temp-dir={self._sessions.name}")
        self._mortal = self.add()

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
        cache = self._folder / f"cache-of-node-{len(self._nodes)}"
        node = subprocess.Popen(
            words,
            env=environment({"MANYPARTS_CACHE": str(cache)}, source),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._nodes.append(node)
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
        self._nodes.remove(node)

    def lose(self, process: int) -> bool:
        # It is below a worker of Ray, which is below the command of its node.
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._mortal.pid in [above.pid for above in psutil.Process(process).parents()]:
                self.kill(self._mortal)
                return True
        return False

    def restore(self) -> None:
        self._mortal = self.add()

    def close(self) -> None:
        super().close()
        for node in self._nodes[::-1]:
            self.kill(node)
        self._sessions.cleanup()
