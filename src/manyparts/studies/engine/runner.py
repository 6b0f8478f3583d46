"""Runs the stages of a study: all cores at work, each stage once, what is done is skipped, failures
stand alone."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.host.cores import cores
from manyparts.core.host.processes import ending
from manyparts.core.printing import say
from manyparts.core.progress import progress_bar
from manyparts.core.storage.caches import CACHE_VARIABLES
from manyparts.core.storage.locked_folder import locked_folder
from manyparts.rollout.workers import ONE_THREAD
from manyparts.studies.engine.stages import (
    LOG,
    Stage,
    Train,
    is_done,
    label,
    left_to_do,
    needs,
    redo,
    write_description,
)
from manyparts.studies.engine.worker import Workers

_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Outcome:
    """What a call did. failed: stages whose process ended badly. blocked: those that need one of
    them."""

    done: list[Stage] = field(default_factory=list)
    failed: list[Stage] = field(default_factory=list)
    blocked: list[Stage] = field(default_factory=list)


def run_stages(
    stages: Sequence[Stage],
    output: Path,
    *,
    manifest: Mapping[str, Any],
    workers: int | None = None,
) -> Outcome:
    """Do the stages that are not done under `output`, those each one needs before it; failed ones
    are tried again.

    workers: processes at a time, each with one thread; None: one a core. A stage that has nothing
    beside it uses them all, where it can. manifest: JSON values that the output folder was begun
    with. A kill costs at most what a stage did since its last checkpoint or episode. SIGINT is
    passed on, and raised as KeyboardInterrupt once every process has saved its work. Raises
    UserError if another runner holds the folder.
    """
    count = cores() if workers is None else workers
    if count < 1:
        raise UserError(f"{count} workers; at least 1 is needed")
    with locked_folder(output, manifest):
        pool = _Pool(list(stages), output, count)
        with progress_bar("study", len(stages)) as bar, contextlib.closing(pool):
            try:
                while pool.advance():
                    bar.show(len(pool.outcome.done), pool.note())
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            except BaseException:
                pool.stop()
                raise
            bar.summary = _summary(pool.outcome)
    return pool.outcome


def _summary(outcome: Outcome) -> str:
    counts = {"failed": outcome.failed, "not begun": outcome.blocked}
    return ", ".join(
        [
            f"{len(outcome.done)} stages done",
            *(f"{len(of)} {word}" for word, of in counts.items() if of),
        ]
    )


class _Pool:
    """The stages that wait and those that run."""

    def __init__(self, stages: list[Stage], output: Path, workers: int) -> None:
        self.output, self.workers = output, workers
        self._waiting = left_to_do(stages, output)
        for stage in self._waiting:
            if is_done(stage, output):
                redo(stage, output)
        waiting = {stage.key for stage in self._waiting}
        self.outcome = Outcome(done=[stage for stage in stages if stage.key not in waiting])
        self._done = {stage.key for stage in self.outcome.done}
        self._running: list[_Process] = []
        environment = dict(os.environ)
        if not any(map(os.environ.get, CACHE_VARIABLES)):
            environment[CACHE_VARIABLES[0]] = str(output.resolve() / "cache")
        environment |= dict.fromkeys(ONE_THREAD, "1") | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path))
        }
        self._processes = Workers(environment)

    def advance(self) -> bool:
        """Take in what has ended and begin what can be; False once nothing runs."""
        for process in [each for each in self._running if each.ended()]:
            self._running.remove(process)
            self._take_in(process)
        while (found := self._next()) is not None:
            stage, cores = found
            self._waiting.remove(stage)
            self._running.append(_Process(self._processes, stage, self.output, cores))
        if not self._running:
            self.outcome.blocked = self._waiting
        return bool(self._running)

    def note(self) -> str:
        """What runs, and for how long."""
        running = ", ".join(f"{label(each.stage)} {each.seconds():.0f} s" for each in self._running)
        failed = f"{len(self.outcome.failed)} failed; " if self.outcome.failed else ""
        return f"{failed}{running}"

    def stop(self) -> None:
        """Ask every process to save its work and wait for it; a second interrupt kills them."""
        print(
            f"\nstopping {len(self._running)} stages; the same command continues them",
            file=sys.stderr,
        )
        for process in self._running:
            process.interrupt()
        while not all(process.ended() for process in self._running):
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def close(self) -> None:
        """Kill what runs."""
        self._processes.close()

    def _next(self) -> tuple[Stage, int] | None:
        """The first stage that could run, with its cores, once they are free: those that others
        leave it, or, as it is part of what the stage is, the number of its training's processes."""
        ready = [
            stage for stage in self._waiting if all(each.key in self._done for each in needs(stage))
        ]
        free = self.workers - sum(process.cores for process in self._running)
        if not ready:
            return None
        stage = ready[0]
        cores = stage.config.processes if isinstance(stage, Train) else max(1, free // len(ready))
        return (stage, cores) if cores <= free or not self._running else None

    def _take_in(self, process: _Process) -> None:
        stage = process.stage
        count = f"[{len(self._done) + 1}/{len(self._done) + len(self._running) + len(self._waiting) + 1}]"
        if is_done(stage, self.output):
            self._done.add(stage.key)
            self.outcome.done.append(stage)
            say(f"{count} {label(stage)}: {process.seconds():.0f} s", error=True)
        else:
            self.outcome.failed.append(stage)
            say(
                f"failed: {label(stage)}: {process.last_words()}; its log: {process.log}",
                error=True,
            )


class _Process:
    """One stage at work in a process of its own, which ends with this one."""

    def __init__(self, processes: Workers, stage: Stage, output: Path, cores: int) -> None:
        self.stage, self.cores, self._began = stage, cores, time.monotonic()
        place = write_description(stage, output)
        self.log = place / LOG
        self._processes, self._number = (
            processes,
            processes.begin(place.resolve(), cores, self.log.resolve()),
        )

    def ended(self) -> bool:
        return self._code is not None

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def interrupt(self) -> None:
        self._processes.interrupt(self._number)

    @property
    def _code(self) -> int | None:
        return self._processes.exit_code(self._number)

    def last_words(self) -> str:
        """The last line of the log, or how the process ended."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        code = self._code or 0
        return (
            next((line for line in reversed(lines) if line.strip()), "")
            if code > 0
            else ending(code)
        )
