"""Which episodes of an evaluation are still to be run, filmed and saved, in which order."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.progress import Bar, progress_bar
from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.episodes import EvaluationJob, video_name
from manyparts.evaluation.record import UNKNOWN, EpisodeRecord
from manyparts.evaluation.results_folder import EPISODES, VIDEOS
from manyparts.rollout.workers import Affinity

NextJob = Callable[[int], EvaluationJob | None]
"""Asked with a worker's number: the job it does next, or None if there is none now."""

Runner = Callable[[NextJob], Generator[tuple[EvaluationJob, EpisodeRecord], None, None]]
"""Runs jobs as long as there are any, and yields each with its record as it ends."""


@dataclass(frozen=True)
class Work:
    """All that an evaluation has to run."""

    tasks: Sequence[str]
    """Full names of the tasks."""

    episodes: int
    """Episodes per task."""

    videos: int
    """Successes per task that are filmed, and failures as many."""

    shows_attention: bool
    """Whether a video comes with the maps of the agent's visual tokens."""

    @property
    def name(self) -> str:
        """The task, or how many there are."""
        return self.tasks[0] if len(self.tasks) == 1 else counted(len(self.tasks), "task")

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Task and index of every episode, in the order of the result."""
        return list(product(self.tasks, range(self.episodes)))


def run_missing(folder: Path, work: Work, run_jobs: Runner) -> list[EpisodeRecord]:
    """Run and film what is missing in a folder.

    Each record is on disk before the next one is waited for.

    Args:
        folder: where episodes.jsonl and videos/ are.
        work: what should be there.
        run_jobs: who runs the episodes.

    Returns:
        The records of all episodes of the work, in their order.
    """
    path = folder / EPISODES
    records = {(record.task, record.index): record for record in _read_records(path)}
    if records:
        _write_records(path, list(records.values()))  # without the line that a kill cut off
    schedule = _Schedule(folder, work, records)
    with (
        progress_bar(f"evaluating episodes of {work.name}", len(work.keys)) as bar,
        closing(run_jobs(schedule.next_job)) as finished,
    ):
        began, steps = time.monotonic(), 0
        for job, record in finished:
            if job.video is not None:
                first = records[record.task, record.index]
                _require_same(first, record)
                continue
            _append(path, record)
            schedule.add(record)
            steps += record.length
            done = [records[key] for key in work.keys if key in records]
            _show_progress(bar, done, steps, time.monotonic() - began)
    _write_records(path, [records[key] for key in sorted(records)])
    return [records[key] for key in work.keys]


def _show_progress(bar: Bar, done: Sequence[EpisodeRecord], steps: int, seconds: float) -> None:
    known = [episode.success_any for episode in done if episode.success_any is not None]
    success = f"{sum(known) / len(known):.2f}" if known else UNKNOWN
    note = f"success {success}, {steps / seconds:.0f} steps/s"
    bar.show(len(done), note)
    bar.summary = f"evaluated {counted(len(done), 'episode')} in {seconds:.0f} s: {note}"


def _require_same(first: EpisodeRecord, filmed: EpisodeRecord) -> None:
    """Raise UserError if an episode came out differently when it was filmed."""
    if filmed != first:
        raise UserError(
            f"the episode of seed {first.seed} of {first.task} came out differently when it was "
            "filmed, so its seeds do not reproduce; evaluate it without videos, and see "
            f"`manyparts doctor --suite {first.task}`"
        )


class _Schedule:
    """Which episode a worker runs next: it stays with its task, and films it once its episodes are
    done.

    The first `videos` successes and failures are filmed, which are known only then, or where
    success is unknown so many episodes. These are run once more with a camera, which is far cheaper
    than to film every episode.
    """

    def __init__(
        self, folder: Path, work: Work, records: dict[tuple[str, int], EpisodeRecord]
    ) -> None:
        self._folder = folder
        self._work = work
        self._records = records
        self._affinity = Affinity()
        self._waiting: dict[str, deque[EvaluationJob]] = {task: deque() for task in work.tasks}
        for task, index in work.keys:
            if (task, index) not in records:
                self._waiting[task].append(EvaluationJob(task, index))
        for task in self._waiting:
            self._film_if_done(task)

    def next_job(self, worker: int) -> EvaluationJob | None:
        """What this worker does next."""
        counts = {task: len(jobs) for task, jobs in self._waiting.items()}
        task = self._affinity.choose(worker, counts)
        return None if task is None else self._waiting[task].popleft()

    def add(self, record: EpisodeRecord) -> None:
        """Take in the record of an episode that ended."""
        self._records[record.task, record.index] = record
        self._film_if_done(record.task)

    def _film_if_done(self, task: str) -> None:
        """Once all episodes of a task are there, schedule the videos that are missing."""
        keys = [(task, index) for index in range(self._work.episodes)]
        if not all(key in self._records for key in keys):
            return
        folder = self._folder / VIDEOS
        for outcome in (True, False, None):
            records = [self._records[key] for key in keys]
            of_outcome = [record for record in records if record.success_any is outcome]
            for record in of_outcome[: self._work.videos]:
                if not self._is_filmed(folder / video_name(record)):
                    job = EvaluationJob(task, record.index, folder)
                    self._waiting[task].append(job)

    def _is_filmed(self, video: Path) -> bool:
        attention = video.with_suffix(".npz")
        return video.exists() and (attention.exists() or not self._work.shows_attention)


def _read_records(path: Path) -> list[EpisodeRecord]:
    """Whole lines only: what a kill cut off is done again."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    try:
        return [EpisodeRecord.from_dict(json.loads(line)) for line in lines if line.endswith("\n")]
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} has a line that is no episode ({error}); delete the file or choose another "
            "output"
        ) from None


def _append(path: Path, record: EpisodeRecord) -> None:
    """Add one line in one write."""
    line = (json.dumps(record.to_dict()) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
        file.write(line)


def _write_records(path: Path, records: Sequence[EpisodeRecord]) -> None:
    lines = [json.dumps(record.to_dict()) + "\n" for record in records]
    write_atomically(path, "".join(lines).encode())
