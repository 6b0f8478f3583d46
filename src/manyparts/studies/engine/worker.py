"""Processes that do the stages of a study, forked from a server that has imported what they need.

A stage often computes for a few seconds, and importing takes three (docs/log/speed-and-scale.md,
2026-11-25). `Workers` is the runner's end of the server, `serve` is the server.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.storage.locks import hold

# Imported before a fork. None of them starts a thread, which a fork would lose.
_PRELOADED = (
    "manyparts.studies.engine.execution",
    "manyparts.evaluation.protocol",
    "manyparts.evaluation.probes",
    "manyparts.rollout.collect",
    "manyparts.training.train",
    "manyparts.training.online.train",
    "torch.utils.tensorboard",
)
_SECONDS_BETWEEN_LOOKS = 0.02


class Workers:
    """The runner's end of the server. All processes end when the runner does, or on `close`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._codes: dict[int, int | None] = {}
        self._start()

    def _start(self) -> None:
        own_end, server_end = socket.socketpair()
        self._connection = Connection(own_end.detach())
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(server_end.fileno())],
            pass_fds=[server_end.fileno()],
            stdin=subprocess.DEVNULL,
            env=self._environment,
            process_group=0,  # Ctrl-C reaches the runner alone, which passes it on
        )
        server_end.close()

    def start(self, stage_folder: Path, cores: int, log: Path) -> int:
        """Start a process that does the stage of a folder.

        Args:
            stage_folder: The folder, which holds the stage's description.
            cores: How many cores the stage may use.
            log: The file that the process's output is appended to.

        Returns:
            The number by which this object knows the process.
        """
        if self._server.poll() is not None:
            self._start()
        number = len(self._codes)
        self._codes[number] = None
        self._send((number, str(stage_folder), cores, str(log)))
        return number

    def exit_code(self, number: int) -> int | None:
        """Return None while a process runs, then its exit code.

        0: done. 2: bad input. 130: interrupted. Negative: the number of the signal that ended it.
        """
        try:
            while self._connection.poll():
                ended, code = self._connection.recv()
                self._codes[ended] = code
        except (EOFError, OSError):  # the server died, and with it all processes that ran
            server_code = self._server.wait()
            for running in [key for key, code in self._codes.items() if code is None]:
                self._codes[running] = server_code
        return self._codes[number]

    def interrupt(self, number: int) -> None:
        """Send SIGINT to a process, if it runs."""
        if self.exit_code(number) is None:
            self._send(number)

    def close(self) -> None:
        """Kill all processes that run."""
        self._connection.close()
        self._server.wait()

    def _send(self, message: object) -> None:
        # If the server has died, `exit_code` notices it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(message)


def serve(descriptor: int) -> None:
    """Fork a process for each stage that the runner names, and report how each ended.

    A message from the runner is (number, folder, cores, log) to start a process, or a process's
    number to interrupt it. A message to it is (number, exit code). The server ends with the runner.
    """
    connection = Connection(descriptor)
    # A background shell ignores SIGINT, and its processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until a stage can handle it
    # Nothing is ever written to this pipe. Its reading end reports the end of the file once all
    # writing ends are closed, which is when the server dies: so its children notice that.
    server_alive, writing_end = os.pipe()
    if sys.platform == "linux":  # elsewhere a fork after such imports is not safe
        for module in _PRELOADED:
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
                number, stage_folder, cores, log = message
                processes[number] = os.fork()
                if processes[number] == 0:
                    connection.close()
                    os.close(writing_end)
                    _run_child(Path(stage_folder), cores, Path(log), server_alive)
            for number, process in list(processes.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    del processes[number]
                    connection.send((number, os.waitstatus_to_exitcode(status)))


def _run_child(stage_folder: Path, cores: int, log: Path, server_alive: int) -> NoReturn:
    """Do a stage in a forked process, and exit. `server_alive` is the reading end of a pipe."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    threading.Thread(target=_exit_with_server, args=(server_alive,), daemon=True).start()
    code = 1
    try:
        code = _carry_out(stage_folder, cores)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _carry_out(stage_folder: Path, cores: int) -> int:
    """Do a stage; return the exit code."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        # The process of a runner that was killed may still be at work.
        with hold(stage_folder / ".stage-lock", what=str(stage_folder), wait=True):
            from manyparts.studies.engine.execution import carry_out
            from manyparts.studies.engine.stages import read_description

            carry_out(read_description(stage_folder), stage_folder.parents[1], cores=cores)
    except UserError as error:
        say(f"error: {error}", error=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _exit_with_server(server_alive: int) -> None:
    os.read(server_alive, 1)  # returns only when the pipe is closed
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
