"""Processes on this machine, forked from a server that has imported what they need.

A stage of a study often computes for a few seconds, and importing takes three
(docs/log/speed-and-scale.md, 2026-11-25). `LocalExecutor` is the runner's end of the server,
`serve` is the server.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from manyparts.core.executors import process
from manyparts.core.host.cores import cores as cores_here

_SECONDS_BETWEEN_LOOKS = 0.02


class LocalExecutor:
    """The `Executor` of this machine. All processes end when this one does, or on `close`."""

    def __init__(self, environment: Mapping[str, str], preloaded: Sequence[str] = ()) -> None:
        """Start the server.

        Args:
            environment: The processes' variables.
            preloaded: Modules that it imports before a fork. None of them may start a thread, which
                a fork would lose.
        """
        self._environment, self._preloaded = dict(environment), tuple(preloaded)
        self._codes: dict[int, int | None] = {}
        self._start()

    def _start(self) -> None:
        own_end, server_end = socket.socketpair()
        self._connection = Connection(own_end.detach())
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(server_end.fileno()), *self._preloaded],
            pass_fds=[server_end.fileno()],
            stdin=subprocess.DEVNULL,
            env=self._environment,
            process_group=0,  # Ctrl-C reaches the runner alone, which passes it on
        )
        server_end.close()

    @property
    def nodes(self) -> tuple[int, ...]:
        return (cores_here(),)

    def start(self, module: str, folder: Path, log: Path, *, cores: int, gpu: bool = False) -> int:
        if self._server.poll() is not None:
            self._take_reports()  # before its connection is gone
            self._end_all()
            self._start()
        number = len(self._codes)
        self._codes[number] = None
        self._send((number, module, str(folder.resolve()), cores, str(log.resolve())))
        return number

    def exit_code(self, number: int) -> int | None:
        self._take_reports()
        return self._codes[number]

    def _take_reports(self) -> None:
        """Take in which processes have ended."""
        try:
            while self._connection.poll():
                ended, code = self._connection.recv()
                self._codes[ended] = code
        except (EOFError, OSError):  # the server died, and with it all processes that ran
            self._end_all()

    def _end_all(self) -> None:
        """Let the processes that ran have ended as the server did."""
        server_code = self._server.wait()
        for running in [key for key, code in self._codes.items() if code is None]:
            self._codes[running] = server_code

    def interrupt(self, number: int) -> None:
        if self.exit_code(number) is None:
            self._send(number)

    def close(self) -> None:
        self._connection.close()
        self._server.wait()

    def _send(self, message: object) -> None:
        # If the server has died, `exit_code` notices it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(message)


def serve(descriptor: int, preloaded: Sequence[str]) -> None:
    """Fork a process for each folder that the runner names, and report how each ended.

    A message from the runner is (number, module, folder, cores, log) to start a process, or a
    process's number to interrupt it. A message to it is (number, exit code). The server ends with
    the runner.
    """
    connection = Connection(descriptor)
    # A background shell ignores SIGINT, and its processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until a process can handle it
    # Nothing is ever written to this pipe. Its reading end reports the end of the file once all
    # writing ends are closed, which is when the server dies: so its children notice that.
    server_alive, writing_end = os.pipe()
    if sys.platform == "linux":  # elsewhere a fork after such imports is not safe
        for module in preloaded:
            importlib.import_module(module)
    processes: dict[int, int] = {}
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        while True:
            while connection.poll(_SECONDS_BETWEEN_LOOKS):
                message = connection.recv()
                if isinstance(message, int):
                    if message in processes:
                        os.kill(processes[message], signal.SIGINT)
                    continue
                number, module, folder, cores, log = message
                processes[number] = os.fork()
                if processes[number] == 0:
                    connection.close()
                    os.close(writing_end)
                    process.run(module, Path(folder), cores, Path(log), server_alive)
            for number, child in list(processes.items()):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    del processes[number]
                    connection.send((number, os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
