"""Jobs in processes of any executor: each process has a folder, to which jobs and results are
appended as lines of JSON.

So nothing but paths passes through a cluster's own channels, and a process that a cluster starts
again on another machine finds its jobs, and what is done of them.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, Generic, TypeVar

from manyparts.core.errors import UserError
from manyparts.core.executors.executor import Executor, opened, workers_on
from manyparts.core.host.processes import ending
from manyparts.core.storage.atomic import make_folder, write_atomically
from manyparts.rollout import mailbox_process
from manyparts.rollout.mailbox_process import END, JOBS, RESULTS, WORK, Lines, append
from manyparts.rollout.workers import ONE_THREAD, LostWorkerError, WorkerError

Job = TypeVar("Job")
Result = TypeVar("Result")

MAILBOXES = ".mailboxes"  # in the folder of the work, while it lasts
SECONDS_UNTIL_REPEATED = 10.0  # without an answer; only by a worker that has nothing else to do
_SECONDS_BETWEEN_LOOKS = 0.01
_SECONDS_TO_END = 20.0
_LOG = "log.txt"
_MAX_JOB_CHARACTERS = 120  # of a job that an error shows


@dataclass(frozen=True)
class PortableJobs(Generic[Job, Result]):
    """A function of jobs that processes know by name, with jobs and results as JSON values."""

    function: str
    """As "module:name", of this package. It takes what is shared and a job, and returns a result.
    A job may be done twice, and both times must come to the same."""

    shared: Any
    """JSON values that all jobs share."""

    write: Callable[[Job], Any]
    """A job to JSON values."""

    read: Callable[[Any], Result]
    """JSON values to a result."""

    on_gpu: bool = False
    """Whether the jobs compute on a GPU."""


def stream_on(
    address: str,
    jobs: PortableJobs[Job, Result],
    next_job: Callable[[int], Job | None],
    *,
    folder: Path,
    workers: int | None,
    inputs: Sequence[Path] = (),
) -> Generator[tuple[Job, Result], None, None]:
    """Yield each job with its result when it ends, as `workers.stream` does on this machine.

    Args:
        address: The executor's.
        jobs: What the jobs are.
        next_job: Called with a worker's index when that worker is free; returns a job, or None if
            there is none at this moment.
        folder: A folder that exists and that all machines see.
        workers: How many processes, at most; None for one per core.
        inputs: Files that all machines must see with the same content.

    Raises:
        UserError: The executor is of no use, or the function raised it.
        LostWorkerError: A worker died, on a cluster several times.
        WorkerError: The function raised something else.
    """
    shutil.rmtree(folder / MAILBOXES, ignore_errors=True)  # of a process that was killed
    mailboxes = folder / MAILBOXES / secrets.token_hex(4)
    make_folder(mailboxes)
    variables = dict.fromkeys(ONE_THREAD, "1")
    try:
        with opened(address, mailboxes, variables=variables, inputs=inputs) as executor:
            count = workers_on(executor.nodes, workers, address)
            yield from _Dispatch(executor, jobs, next_job, mailboxes).results(count)
    finally:
        shutil.rmtree(folder / MAILBOXES, ignore_errors=True)


class _Dispatch(Generic[Job, Result]):
    """Which worker does which job.

    A cluster may give a process its machine late, or never: other work has it, or it died and the
    others are full. So where a worker has nothing to do, it repeats a job that another one has not
    answered for a while. The first answer counts.
    """

    def __init__(
        self,
        executor: Executor,
        jobs: PortableJobs[Job, Result],
        next_job: Callable[[int], Job | None],
        mailboxes: Path,
    ) -> None:
        self._executor, self._jobs, self._next_job = executor, jobs, next_job
        self._mailboxes = mailboxes
        self._workers: dict[int, _Worker] = {}  # by index; a worker starts with its first job
        self._busy: dict[int, int] = {}  # worker to the number of its job
        self._open: dict[int, _Open[Job]] = {}  # jobs without an answer, by their numbers
        self._count = 0

    def results(self, workers: int) -> Iterator[tuple[Job, Result]]:
        """Yield the jobs with their results, as they come."""
        while True:
            for index in range(workers):
                if index not in self._busy:
                    self._employ(index)
            if not self._open:
                break
            answers = [(index, self._answer(index)) for index in list(self._busy)]
            for index, answer in answers:
                if answer is not None:
                    done = self._open.pop(self._busy.pop(index), None)
                    if done is not None:  # otherwise another worker was faster
                        yield done.job, self._jobs.read(_value(answer, index, done.job))
            if all(answer is None for _, answer in answers):
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        idle = [worker for index, worker in self._workers.items() if index not in self._busy]
        _end(idle)

    def _employ(self, index: int) -> None:
        """Give a worker its next job, or one that waits for an answer."""
        if (job := self._next_job(index)) is not None:
            number, self._count = self._count, self._count + 1
            self._open[number] = _Open(job, time.monotonic())
        else:
            waiting = [number for number, each in self._open.items() if each.is_overdue()]
            if index not in self._workers or not waiting:
                return
            number = waiting[0]
            self._open[number].repeated = True
        if index not in self._workers:
            folder = self._mailboxes / str(index)
            self._workers[index] = _Worker(index, self._executor, folder, self._jobs)
        self._workers[index].send(number, self._jobs.write(self._open[number].job))
        self._busy[index] = number

    def _answer(self, index: int) -> dict[str, Any] | None:
        """Return what came of a worker's job; None while it runs, also if others have done it."""
        worker, number = self._workers[index], self._busy[index]
        ended = worker.ended()  # asked first: what a process wrote before its end counts
        answer = worker.answer(number)
        if answer is None and ended and number in self._open:
            job = shorten(str(self._open[number].job), _MAX_JOB_CHARACTERS)
            raise LostWorkerError(f"worker {index} died while running {job}: {worker.reason()}")
        return answer


@dataclass
class _Open(Generic[Job]):
    """A job without an answer."""

    job: Job
    since: float
    """When it was given to a worker, by the monotonic clock."""
    repeated: bool = False
    """Whether another worker does it, too."""

    def is_overdue(self) -> bool:
        return not self.repeated and time.monotonic() - self.since > SECONDS_UNTIL_REPEATED


def _value(answer: dict[str, Any], index: int, job: object) -> Any:
    """Return the result of a job, or raise its error."""
    if answer["kind"] == "user error":
        raise UserError(answer["value"])
    if answer["kind"] == "error":
        raise WorkerError(f"worker {index} failed on {job}\n{answer['value']}")
    return answer["value"]


def _end(workers: Collection[_Worker]) -> None:
    """Let processes end by themselves, so that they close their simulators."""
    for worker in workers:
        worker.send(-1, END)
    until = time.monotonic() + _SECONDS_TO_END
    while not all(worker.ended() for worker in workers) and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)


class _Worker:
    """This end of a process and its folder."""

    def __init__(
        self, index: int, executor: Executor, folder: Path, jobs: PortableJobs[Any, Any]
    ) -> None:
        self._index, self._executor, self._folder = index, executor, folder
        make_folder(folder)
        work = {"function": jobs.function, "shared": jobs.shared}
        write_atomically(folder / WORK, json.dumps(work).encode())
        for name in (JOBS, RESULTS):
            (folder / name).touch()
        self._results = Lines(folder / RESULTS)
        log = folder / _LOG
        self._number = executor.start(mailbox_process.MODULE, folder, log, cores=1, gpu=jobs.on_gpu)

    def send(self, number: int, value: Any) -> None:
        """Append a job."""
        append(self._folder / JOBS, {"job": number, "value": value})

    def ended(self) -> bool:
        return self._executor.exit_code(self._number) is not None

    def answer(self, number: int) -> dict[str, Any] | None:
        """Return what came of a job; None while it runs."""
        return next((each for each in self._results.new() if each["job"] == number), None)

    def reason(self) -> str:
        """Say how the process ended: by the last line of its log, or its exit code."""
        code = self._executor.exit_code(self._number) or 0
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = (self._folder / _LOG).read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return last if code > 0 and last else ending(code)
