"""Jobs in worker processes, with results as they come.

No worker outlives the process that started it.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping
from multiprocessing.connection import Connection, wait
from textwrap import shorten
from typing import Any, TypeVar

from manyparts.core.errors import UserError
from manyparts.core.host.processes import ending
from manyparts.core.plugins import PluginWarning

Job = TypeVar("Job")
Result = TypeVar("Result")

# Set to 1 for workers, which share the cores among themselves. LP_NUM_THREADS is the software
# renderer's.
ONE_THREAD: tuple[str, ...] = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "LP_NUM_THREADS",
)

_MAX_JOB_CHARACTERS = 120  # characters of a job that an error shows


class WorkerError(RuntimeError):
    """A worker process died, or the function it ran raised; the message holds its traceback."""


class LostWorkerError(WorkerError, UserError):
    """A worker process died at work: killed, out of memory, or by a broken driver."""


def stream(
    function: Callable[[Job], Result], next_job: Callable[[int], Job | None], *, workers: int
) -> Generator[tuple[Job, Result], None, None]:
    """Yield each job with its result when it ends.

    Close the iterator (`contextlib.closing`) to stop the workers. It ends when no job runs and none
    is offered.

    Args:
        function: Runs a job. It must be importable by name, and runs in fresh processes that do not
            run the caller's main script again.
        next_job: Called with a worker's index when that worker is free; returns a job, or None if
            there is none at this moment.
        workers: How many processes, at most.

    Raises:
        UserError: `function` raised it.
        LostWorkerError: A worker died.
        WorkerError: `function` raised something else.
    """
    if workers < 1:
        raise UserError(f"workers is {workers}; expected at least 1")
    pool: dict[int, _Worker] = {}  # by index; a worker starts with its first job
    busy: dict[Connection, tuple[int, Job]] = {}
    finished = False
    try:
        while True:
            free = set(range(workers)) - {index for index, _ in busy.values()}
            for index in sorted(free):
                if (job := next_job(index)) is not None:
                    if index not in pool:
                        pool[index] = _Worker(index, function)
                    pool[index].send(job)
                    busy[pool[index].connection] = (index, job)
            if not busy:
                break
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                index, job = busy.pop(connection)
                yield job, pool[index].receive(job)
        finished = True
    finally:
        for worker in pool.values():
            worker.stop(politely=finished)


class Affinity:
    """Give each worker a task of its own while there is work, so that it builds few simulators."""

    def __init__(self) -> None:
        self._current: dict[int, str] = {}

    def choose(self, worker: int, remaining: Mapping[str, int]) -> str | None:
        """Return the worker's next task; None if no job is left.

        Args:
            worker: The worker's index.
            remaining: Task to the number of its jobs that are left.
        """
        remaining = {task: count for task, count in remaining.items() if count > 0}
        if not remaining:
            return None
        if self._current.get(worker) not in remaining:
            others = {task for other, task in self._current.items() if other != worker}
            # A task that no other worker does; of several, the one with the most jobs.
            self._current[worker] = max(
                remaining, key=lambda task: (task not in others, remaining[task])
            )
        return self._current[worker]


class _Worker:
    """The parent's end of one worker process: a socket to a fresh interpreter that runs `serve`."""

    def __init__(self, index: int, function: Callable[[Any], Any]) -> None:
        self.index = index
        own_end, worker_end = socket.socketpair()
        self.connection = Connection(own_end.detach())
        environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
        environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
        descriptor = worker_end.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve({descriptor})"],
            pass_fds=[descriptor],
            env=environment,
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C reaches the parent alone, which then stops its workers
        )
        worker_end.close()
        self.send(function)

    def send(self, message: Any) -> None:
        try:
            self.connection.send_bytes(pickle.dumps(message))
        except (BrokenPipeError, ConnectionResetError):
            raise LostWorkerError(self._death("before its next job")) from None

    def receive(self, job: Any) -> Any:
        try:
            kind, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            description = shorten(str(job), _MAX_JOB_CHARACTERS)
            raise LostWorkerError(self._death(f"while running {description}")) from None
        if kind == "user error":
            raise UserError(value)
        if kind == "error":
            raise WorkerError(f"worker {self.index} failed on {job}\n{value}")
        return value

    def stop(self, *, politely: bool) -> None:
        """End the worker: politely, so that it closes its simulators, or at once."""
        if politely and self.process.poll() is None:
            self.send(None)
        else:
            self.process.kill()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.connection.close()

    def _death(self, moment: str) -> str:
        """Say how the process ended, and what to do."""
        code = self.process.wait()
        advice = ". Fewer workers need less memory: --workers 1" if code == -signal.SIGKILL else ""
        return f"worker {self.index} died {moment}: {ending(code)}{advice}"


def serve(descriptor: int) -> None:
    """Run jobs from a socket, in the worker, until None comes instead or the parent is gone."""
    connection = Connection(descriptor)
    warnings.simplefilter("ignore", PluginWarning)  # the parent has said it
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, messages), daemon=True).start()
    function = pickle.loads(messages.get())
    while (job := pickle.loads(messages.get())) is not None:
        connection.send(_answer(function, job))


def _listen(connection: Connection, messages: queue.SimpleQueue[bytes]) -> None:
    """Pass messages on; when the parent dies, exit at once, even during a job."""
    try:
        while True:
            messages.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)


def _answer(function: Callable[[Any], Any], job: Any) -> tuple[str, Any]:
    try:
        return "result", function(job)
    except UserError as error:
        return "user error", str(error)
    except Exception:
        return "error", traceback.format_exc()
