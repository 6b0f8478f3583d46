"""Agents, servers and clients for tests of serving."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import connect

from manyparts.core.messages import pack, unpack

CAMERA, SIZE, STATES = "top", (16, 16), 2
INSTRUCTION = "reach the red target"


class Served:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], log: Path, port: int) -> None:
        self.process, self.log, self.port = process, log, port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def stopped(self, number: int = signal.SIGINT) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextlib.contextmanager
def serving(run: Path, folder: Path, *flags: str, within: Sequence[str] = ()) -> Iterator[Served]:
    """A server of an agent at a free port, with its log in a folder, started by another program."""
    log = folder / "serve.log"
    command = [sys.executable, "-m", "manyparts", "serve", str(run), "--port", "0", *flags]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*within, *command], stdout=file, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield Served(process, log, _port(process, log))
        finally:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[str], log: Path) -> int:
    for _ in range(1200):
        text = log.read_text()
        if "Ctrl-C ends" in text:
            return int(text.rsplit("for openpi", 1)[0].strip().rsplit(":", 1)[1])
        assert process.poll() is None, text
        time.sleep(0.05)
    raise AssertionError(log.read_text())


class Client:
    """A client of openpi's protocol."""

    def __init__(self, url: str, **arguments: Any) -> None:
        proxy: Any = {"proxy": None}
        self._connection = connect(url, compression=None, **proxy, **arguments)
        self.socket = self._connection.__enter__()
        self.metadata = unpack(self.received())

    def received(self) -> Any:
        return self.socket.recv(timeout=30)

    def infer(self, request: dict[str, Any]) -> Any:
        self.socket.send(pack(request, "openpi"))
        data = self.received()
        return data if isinstance(data, str) else unpack(data)

    def close(self) -> None:
        self.socket.close()


def request(number: int, **more: Any) -> dict[str, Any]:
    """A request that fits the point mass, the same for the same number."""
    generator = np.random.default_rng(number)
    return {
        f"observation/{CAMERA}": generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        "observation/state": generator.uniform(-0.5, 0.5, STATES).astype(np.float32),
        "prompt": INSTRUCTION,
        **more,
    }
