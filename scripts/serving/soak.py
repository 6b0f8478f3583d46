"""Serve many clients for an hour, and watch errors and memory.

python scripts/serving/soak.py RUN OUTPUT.json [--clients 16] [--minutes 60] [--rate 2]
    [--record DIR]

Each client asks at its own rate, resets its episode now and then, goes away and comes back. It
prints the server's resident memory once per minute. The exit code is 1 if a client met an error, or
if memory grew by 2 % or more from minute 10 to the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import connect

from manyparts.core.messages import pack, unpack
from manyparts.core.storage.atomic import write_atomically

SETTLED_MINUTES = 10
MAX_GROWTH = 0.02
_REQUESTS_PER_EPISODE, _EPISODES_PER_CONNECTION = 40, 5


class Client(threading.Thread):
    """Asks until the end."""

    def __init__(self, url: str, number: int, rate: float, end: float) -> None:
        super().__init__(daemon=True)
        self.url, self.rate, self.end = url, rate, end
        self.generator = np.random.default_rng(number)
        self.requests, self.errors = 0, list[str]()

    def run(self) -> None:
        while time.monotonic() < self.end:
            try:
                self._connected()
            except Exception as error:  # whatever it is, it is counted
                self.errors.append(f"{type(error).__name__}: {error}")
                time.sleep(1)

    def _connected(self) -> None:
        with connect(self.url, compression=None, proxy=None) as socket:
            metadata = unpack(_bytes(socket.recv(timeout=60)))
            tasks = metadata["tasks"] or [{"instruction": "act"}]
            for _ in range(_EPISODES_PER_CONNECTION):
                prompt = tasks[self.generator.integers(len(tasks))]["instruction"]
                for _ in range(_REQUESTS_PER_EPISODE):
                    if time.monotonic() > self.end:
                        return
                    socket.send(pack(self._request(metadata, prompt), "openpi"))
                    answer = unpack(_bytes(socket.recv(timeout=60)))
                    assert np.isfinite(answer["actions"]).all()
                    self.requests += 1
                    time.sleep(self.generator.exponential(1 / self.rate))
                socket.send(pack({"endpoint": "reset"}, "openpi"))
                assert socket.recv(timeout=60) == "reset successful"

    def _request(self, metadata: dict[str, Any], prompt: str) -> dict[str, Any]:
        images = {
            f"observation/{name}": self.generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            for name, size in metadata["cameras"].items()
        }
        state = self.generator.uniform(-0.1, 0.1, len(metadata["state"]))
        return {**images, "observation/state": state, "prompt": prompt}


def _bytes(data: str | bytes) -> bytes:
    assert isinstance(data, bytes), data
    return data


def resident(process: int) -> int:
    """Return the resident memory of a process in KiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(process)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("output", type=Path)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2, help="requests per second of each client")
    parser.add_argument("--record", help="the server records the episodes here")
    options = parser.parse_args()
    command = [sys.executable, "-m", "manyparts", "serve", options.run, "--port", "0"]
    if options.record:
        command += ["--record", options.record]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    line = next(line for line in server.stdout if "for openpi" in line)
    url = line.split()[0]
    threading.Thread(target=lambda: [None for _ in server.stdout or ()], daemon=True).start()
    begin = time.monotonic()
    end = begin + 60 * options.minutes
    clients = [Client(url, number, options.rate, end) for number in range(options.clients)]
    for client in clients:
        client.start()
    memory: list[int] = []
    while time.monotonic() < end and server.poll() is None:
        time.sleep(max(0.0, begin + 60 * (len(memory) + 1) - time.monotonic()))
        memory.append(resident(server.pid))
        requests = sum(client.requests for client in clients)
        print(f"minute {len(memory)}: {memory[-1]} KiB, {requests} requests", flush=True)
    for client in clients:
        client.join(timeout=90)
    alive = server.poll() is None
    server.send_signal(2)
    errors = [error for client in clients for error in client.errors]
    settled = memory[min(SETTLED_MINUTES, len(memory)) - 1]
    result = {
        "minutes": options.minutes,
        "clients": options.clients,
        "requests": sum(client.requests for client in clients),
        "errors": errors[:20],
        "resident KiB": memory,
        "growth": memory[-1] / settled - 1,
        "server's exit code": server.wait(timeout=60),
    }
    write_atomically(options.output, json.dumps(result, indent=1).encode())
    print(json.dumps({name: value for name, value in result.items() if name != "resident KiB"}))
    return int(bool(errors) or not alive or result["growth"] >= MAX_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
