"""Run the stages of a study on all cores of a machine or a cluster, each stage once.

Stages that are done are skipped. A stage that fails stops only those that need it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.executors.executor import LOCAL, Executor, is_local, opened, workers_on
from manyparts.core.host.processes import ending
from manyparts.core.printing import counted, say
from manyparts.core.progress import progress_bar
from manyparts.core.storage.caches import CACHE_VARIABLES, chosen_root
from manyparts.core.storage.locked_folder import locked_folder
from manyparts.rollout.workers import ONE_THREAD
from manyparts.studies.engine.stages import (
    LOG,
    Run,
    Stage,
    is_done,
    label,
    left_to_do,
    needs,
    redo,
    write_description,
)
from manyparts.studies.engine.worker import MODULE, PRELOADED

_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Outcome:
    """What `run_stages` did."""

    done: list[Stage] = field(default_factory=list)
    """Stages that are done, by this call or before."""
    failed: list[Stage] = field(default_factory=list)
    """Stages that failed in their process."""
    blocked: list[Stage] = field(default_factory=list)
    """Stages that were not started, since they need one that failed."""


def run_stages(
    stages: Sequence[Stage],
    output: Path,
    *,
    manifest: Mapping[str, Any],
    workers: int | None = None,
    executor: str = LOCAL,
) -> Outcome:
    """Do the stages that are not done; those that failed before are tried again.

    A kill costs at most what a stage did since its last checkpoint or episode. SIGINT is passed on,
    and raised as KeyboardInterrupt once every process has saved its work.

    Args:
        stages: Each after those that it needs.
        output: The study's folder.
        manifest: JSON values that must be the same whenever the study is continued.
        workers: How many cores to use; None for all. A stage that runs alone uses all of them if
            it can.
        executor: Where the stages run: "local", "ray://HOST:PORT" or "slurm:PARTITION", a cluster
            of which all machines see `output` under the same path.

    Raises:
        UserError: Another runner holds the folder, it was started with another manifest, or the
            cluster does not fit this machine.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; expected at least 1")
    variables = dict.fromkeys(ONE_THREAD, "1")
    # Machines of a cluster have a cache each, see `RayExecutor`.
    if is_local(executor) and chosen_root() is None:
        variables[CACHE_VARIABLES[0]] = str(output.resolve() / "cache")
    with (
        locked_folder(output, manifest),
        opened(executor, output, variables=variables, preloaded=PRELOADED) as processes,
    ):
        count = workers_on(processes.nodes, workers, executor)
        pool = _Pool(list(stages), output, count, processes)
        with progress_bar(f"stages of the study in {output}", len(stages)) as bar:
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
    counts = [f"{counted(len(outcome.done), 'stage')} done"]
    if outcome.failed:
        counts.append(f"{len(outcome.failed)} failed")
    if outcome.blocked:
        counts.append(f"{len(outcome.blocked)} not started")
    return ", ".join(counts)


class _Pool:
    """The stages that wait and those that run."""

    def __init__(
        self, stages: list[Stage], output: Path, workers: int, processes: Executor
    ) -> None:
        self.output, self.workers, self._processes = output, workers, processes
        self._waiting = left_to_do(stages, output)
        for stage in self._waiting:
            if is_done(stage, output):
                redo(stage, output)
        waiting = {stage.key for stage in self._waiting}
        self.outcome = Outcome(done=[stage for stage in stages if stage.key not in waiting])
        self._done = {stage.key for stage in self.outcome.done}
        self._running: list[_Process] = []

    def advance(self) -> bool:
        """Record the processes that have ended and start others; return whether any runs."""
        for process in [process for process in self._running if process.ended()]:
            self._running.remove(process)
            self._record(process)
        while (next_stage := self._next()) is not None:
            stage, cores = next_stage
            self._waiting.remove(stage)
            self._running.append(_Process(self._processes, stage, self.output, cores))
        if not self._running:
            self.outcome.blocked = self._waiting
        return bool(self._running)

    def note(self) -> str:
        """Return what runs, and for how long, as text."""
        running = ", ".join(
            f"{label(process.stage)} {process.seconds():.0f} s" for process in self._running
        )
        failed = f"{len(self.outcome.failed)} failed; " if self.outcome.failed else ""
        return f"{failed}{running}"

    def stop(self) -> None:
        """Ask every process to save its work, and wait for it; a second interrupt kills them."""
        print(
            f"\nstopping {len(self._running)} stages; the same command continues them",
            file=sys.stderr,
        )
        for process in self._running:
            process.interrupt()
        while not all(process.ended() for process in self._running):
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _next(self) -> tuple[Stage, int] | None:
        """Return the first stage that can run and its cores; None until enough are free.

        A training takes as many cores as its config has processes, which are part of its key. Other
        stages divide the free cores.
        """
        ready = [
            stage
            for stage in self._waiting
            if all(needed.key in self._done for needed in needs(stage))
        ]
        if not ready:
            return None
        stage = ready[0]
        free = self.workers - sum(process.cores for process in self._running)
        cores = stage.config.processes if isinstance(stage, Run) else max(1, free // len(ready))
        if len(self._processes.nodes) > 1:  # a stage runs on one machine
            cores = min(cores, max(self._processes.nodes))
        # If nothing runs, a stage starts even if it wants more cores than there are.
        return (stage, cores) if cores <= free or not self._running else None

    def _record(self, process: _Process) -> None:
        """Note how a process that has ended did, and print a line."""
        stage = process.stage
        number = len(self._done) + 1
        total = number + len(self._running) + len(self._waiting)
        if is_done(stage, self.output):
            self._done.add(stage.key)
            self.outcome.done.append(stage)
            text = f"[{number}/{total}] {label(stage)}: {process.seconds():.0f} s"
        else:
            self.outcome.failed.append(stage)
            text = f"failed: {label(stage)}: {process.reason()}; its log: {process.log}"
        say(text, error=True)


class _Process:
    """One stage at work in a process of its own, which ends with this one."""

    def __init__(self, processes: Executor, stage: Stage, output: Path, cores: int) -> None:
        self.stage, self.cores, self._start = stage, cores, time.monotonic()
        stage_folder = write_description(stage, output)
        self.log = stage_folder / LOG
        self._processes = processes
        self._number = processes.start(
            MODULE, stage_folder, self.log, cores=cores, gpu=isinstance(stage, Run)
        )

    def ended(self) -> bool:
        return self._code is not None

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def interrupt(self) -> None:
        self._processes.interrupt(self._number)

    @property
    def _code(self) -> int | None:
        return self._processes.exit_code(self._number)

    def reason(self) -> str:
        """Return why the process failed: the last line of its log, or how it ended."""
        code = self._code or 0
        if code <= 0:
            return ending(code)
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line for line in reversed(lines) if line.strip()), "")
