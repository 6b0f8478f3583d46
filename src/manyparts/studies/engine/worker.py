"""Processes that do the stages of a study, forked from one that has imported what they need, and
both its ends.

A stage often computes for a few seconds, and importing takes three (docs/log.md, 2026-11-25).
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

# What the stages import when they need it; nothing of it starts a thread, which a fork would lose.
_NEEDED = (
    "manyparts.studies.engine.execution",
    "manyparts.evaluation.protocol",
    "manyparts.evaluation.probes",
    "manyparts.rollout.collect",
    "manyparts.training.train",
    "torch.utils.tensorboard",
)
_SECONDS_BETWEEN_LOOKS = 0.02


class Workers:
    """The runner's end. The processes end when it does, or is closed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._codes: dict[int, int | None] = {}
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=self._environment,
            process_group=0,  # Ctrl-C reaches the runner alone, which passes it on
        )
        theirs.close()

    def begin(self, place: Path, cores: int, log: Path) -> int:
        """Start a process that does the stage of the folder `place`, its output appended to `log`;
        its number."""
        if self._server.poll() is not None:
            self._start()
        number = len(self._codes)
        self._codes[number] = None
        self._tell((number, str(place), cores, str(log)))
        return number

    def exit_code(self, number: int) -> int | None:
        """None while it runs; 0 done, 2 bad input, 130 interrupted, minus a signal's number if that
        ended it."""
        try:
            while self._connection.poll():
                ended, code = self._connection.recv()
                self._codes[ended] = code
        except (EOFError, OSError):  # the server died, and with it all that ran
            died = self._server.wait()
            self._codes = {
                each: died if code is None else code for each, code in self._codes.items()
            }
        return self._codes[number]

    def interrupt(self, number: int) -> None:
        if self.exit_code(number) is None:
            self._tell(number)

    def close(self) -> None:
        """Kill what still runs."""
        self._connection.close()
        self._server.wait()

    def _tell(self, message: object) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # `exit_code` will find out
            self._connection.send(message)


def serve(descriptor: int) -> None:
    """Fork a process for each stage that the runner names, pass interrupts on, tell how each ended;
    end with it."""
    connection = Connection(descriptor)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background shell would have it ignored
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until a stage can answer it
    life, held = os.pipe()
    if (
        sys.platform == "linux"
    ):  # elsewhere a fork after such imports is not safe: each process imports for itself
        for module in _NEEDED:
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
                number, place, cores, log = message
                processes[number] = os.fork()
                if processes[number] == 0:
                    connection.close()
                    os.close(held)
                    _do(Path(place), cores, Path(log), life)
            for number, process in list(processes.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    del processes[number]
                    connection.send((number, os.waitstatus_to_exitcode(status)))


def _do(place: Path, cores: int, log: Path, life: int) -> NoReturn:
    """A forked process, from its begin to its end. `life`: a pipe that ends when the server
    does."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    threading.Thread(target=_end_with_the_server, args=(life,), daemon=True).start()
    code = 1
    try:
        code = _carry_out(place, cores)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _carry_out(place: Path, cores: int) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        # the worker of a runner that was killed may not be gone yet
        with hold(place / ".stage-lock", what=str(place), wait=True):
            from manyparts.studies.engine.execution import carry_out
            from manyparts.studies.engine.stages import read_description

            carry_out(read_description(place), place.parents[1], cores=cores)
    except UserError as error:
        say(f"error: {error}", error=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with_the_server(life: int) -> None:
    """The server never writes."""
    os.read(life, 1)
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
