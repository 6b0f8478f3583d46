"""Processes as jobs of Slurm, each with a client `srun` on this machine that waits for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from manyparts.core.errors import UserError
from manyparts.core.executors import process
from manyparts.core.executors.nodes import described, require_fitting
from manyparts.core.executors.process import BAD_INPUT, FAILED, INTERRUPTED
from manyparts.core.naming import NAME
from manyparts.core.printing import say
from manyparts.core.storage.atomic import write_atomically
from manyparts.core.storage.caches import CACHE_VARIABLES, chosen_root, temporary_root

MAX_RETRIES = 3  # of a process, when its node dies
_SECONDS_TO_ANSWER = 20
_SECONDS_TO_END = 10.0
_SHORT_SECONDS = 60.0  # a job that ends sooner did not use its time
_BEGUN = f"{NAME}: begun"  # what a job writes first
_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_SAVE = 120  # before the time limit of a job
# Variables that a user sets for srun. All others of its kind describe a job.
_OPTIONS = {
    f"SLURM_{name}"
    for name in ("CONF", "ACCOUNT", "QOS", "TIMELIMIT", "CONSTRAINT", "RESERVATION", "MEM_PER_CPU")
}
_USABLE = re.compile(r"^(idle|mixed|allocated|completing)")  # a state of a node, without its flags


class SlurmExecutor:
    """The `Executor` of a partition of Slurm. All processes end when this one does, or on `close`.

    Each process is a job of its own. It is started again if its node dies, or its time is over,
    before which it saves its work.
    """

    def __init__(
        self,
        address: str,
        shared: Path,
        variables: Mapping[str, str],
        inputs: Sequence[Path] = (),
    ) -> None:
        """Ask Slurm for its nodes.

        Args:
            address: "slurm", or "slurm:PARTITION".
            shared: A folder that all nodes must see under this path.
            variables: Environment variables of the processes, besides those of this one.
            inputs: Files that all nodes must see with the same content.

        Raises:
            UserError: There is no Slurm, or no such partition.
        """
        self._address, self._shared = address, shared.resolve()
        self._partition = address.partition(":")[2]
        self._cores, self._has_gpus = self._asked()
        # A job that this process runs in is none of the processes' business.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in _OPTIONS or not name.startswith(("SLURM_", "SRUN_"))
        }
        self._environment = inherited | dict(variables)
        self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._jobs: list[_Job] = []
        here = described("", [str(path.resolve()) for path in inputs])
        self._wanted = self._shared / f".shared-{secrets.token_hex(8)}.json"
        write_atomically(self._wanted, json.dumps(here).encode())

    @property
    def nodes(self) -> tuple[int, ...]:
        return self._cores

    def start(self, module: str, folder: Path, log: Path, *, cores: int, gpu: bool = False) -> int:
        cores = min(cores, max(self._cores))
        words = ["srun", "--disable-status", "--quiet", "--ntasks=1", f"--cpus-per-task={cores}"]
        words += [f"--job-name={NAME}-{folder.name}", f"--signal=INT@{_SECONDS_TO_SAVE}"]
        words += [f"--partition={self._partition}"] if self._partition else []
        words += ["--gpus=1"] if gpu and self._has_gpus else []
        words += [sys.executable, "-m", __name__, module, str(folder.resolve()), str(cores)]
        words += [str(log.resolve()), str(self._wanted)]
        self._jobs.append(_Job(words, self._environment, log))
        return len(self._jobs) - 1

    def exit_code(self, number: int) -> int | None:
        return self._jobs[number].exit_code()

    def interrupt(self, number: int) -> None:
        self._jobs[number].interrupt()

    def close(self) -> None:
        running = [job for job in self._jobs if job.exit_code(retry=False) is None]
        for job in running:
            job.end()
        until = time.monotonic() + _SECONDS_TO_END
        while any(job.exit_code(retry=False) is None for job in running):
            if time.monotonic() > until:
                say("a job of Slurm may still run; see `squeue --me`", error=True)
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._wanted.unlink(missing_ok=True)

    def _asked(self) -> tuple[tuple[int, ...], bool]:
        """Return the cores of each node, and whether any has a GPU."""
        if shutil.which("srun") is None:
            raise UserError(f"executor {self._address} needs Slurm: there is no command srun here")
        command = ["sinfo", "--noheader", "--Node", "--format=%N|%c|%T|%G"]
        command += [f"--partition={self._partition}"] if self._partition else []
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=True
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"Slurm has not answered sinfo for {_SECONDS_TO_ANSWER} s") from None
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
            raise UserError(f"Slurm does not answer sinfo: {reason}") from error
        rows = {line.split("|")[0]: line.split("|") for line in answer.stdout.split("\n") if line}
        usable = [row for row in rows.values() if _USABLE.match(row[2]) and "*" not in row[2]]
        if not usable:
            where = f"partition {self._partition!r}" if self._partition else "Slurm"
            raise UserError(f"{where} has no node that can be used; see `sinfo`")
        return tuple(int(row[1]) for row in usable), any("gpu" in row[3] for row in usable)


class _Job:
    """A client of Slurm, and those that take its place when Slurm ends its job."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._words, self._environment, self._log = list(words), dict(environment), log
        self._code: int | None = None
        self._starts, self._is_interrupted = 0, False
        self._start()

    def _start(self) -> None:
        self._starts += 1
        self._began: float | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._client = subprocess.Popen(
            self._words,
            env=self._environment,
            stdin=subprocess.PIPE,  # the job ends with it, and so with this process
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            process_group=0,  # Ctrl-C reaches the runner alone, which passes it on
        )

    def exit_code(self, *, retry: bool = True) -> int | None:
        # Read at its place: Slurm's client writes at the file's own.
        if self._began is None and _BEGUN.encode() in os.pread(self._errors.fileno(), 4096, 0):
            self._began = time.monotonic()
        if self._code is None and (code := self._client.poll()) is not None:
            self._errors.seek(0)
            errors = self._errors.read().decode(errors="replace")
            ended = code_of(code, errors)
            if ended == INTERRUPTED and not self._is_interrupted:
                ended = None  # its time was over
                if self._began and time.monotonic() - self._began > _SHORT_SECONDS:
                    self._starts = 0  # and was used, which is no death
            if ended is None and self._is_interrupted:
                ended = INTERRUPTED  # before it began
            if ended is None and retry and self._starts <= MAX_RETRIES:
                self._explain(errors, "Slurm ended this job, and it is started again")
                self._start()
                return None
            if ended in (None, BAD_INPUT, FAILED):
                self._explain(errors)
            self._code = FAILED if ended is None else ended
        return self._code

    def interrupt(self) -> None:
        if self.exit_code() is None:
            self._is_interrupted = True
            self._client.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Let the job end at once."""
        self._is_interrupted = True
        if self._client.stdin is not None:
            self._client.stdin.close()
        self._client.terminate()

    def _explain(self, errors: str, *further: str) -> None:
        """Note what Slurm said, and the process before it had a log, if it is more than a code."""
        lines = [line for line in errors.splitlines() if line and "Exited with" not in line]
        lines = [*(line for line in lines if line != _BEGUN), *further]
        if lines:
            with contextlib.suppress(OSError), self._log.open("a") as log:
                log.write("\n".join(lines) + "\n")


def code_of(code: int, errors: str) -> int | None:
    """Return the exit code of a job's process; None if Slurm ended the job, or never began it.

    Args:
        code: The client's, which is 0 even if the node died.
        errors: What the client wrote.
    """
    if ended := re.search(r"task 0: Exited with exit code (\d+)", errors):
        return int(ended[1])
    if "task 0:" in errors:  # and a signal's name
        return 128 - code if code > 128 else FAILED
    return 0 if code == 0 and "srun: error" not in errors else None


def _work(module: str, folder: str, cores: str, log: str, wanted: str) -> None:
    """Do on this node what a folder says, and exit; see `process.run`."""
    where = f"node {socket.gethostname()}"
    say(_BEGUN, error=True)
    try:
        if not Path(wanted).exists():
            raise UserError(
                f"{where} does not see {Path(wanted).parent}; choose an --output on a disk that "
                "all nodes share under the same path"
            )
        here = json.loads(Path(wanted).read_text())
        require_fitting(where, described("", list(here["inputs"])), here)
        if chosen_root() is None:
            # Not in the home folder, which several nodes may share.
            os.environ[CACHE_VARIABLES[0]] = str(temporary_root())
    except UserError as error:
        say(f"error: {error}", error=True)
        sys.exit(BAD_INPUT)
    process.run(module, Path(folder), int(cores), Path(log), starter=0)


if __name__ == "__main__":
    _work(*sys.argv[1:])
