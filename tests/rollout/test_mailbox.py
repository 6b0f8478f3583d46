"""Jobs through mailboxes, as clusters do them, here in processes of this machine: the same results
as of workers by sockets, clear errors, nothing done twice, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from rollout.collecting import SMALL, TASKS, digest

from manyparts.agents.expert import Noise
from manyparts.core.errors import UserError
from manyparts.rollout import mailbox
from manyparts.rollout.mailbox import MAILBOXES, stream_on
from manyparts.rollout.mailbox_process import (
    END,
    JOBS,
    RESULTS,
    WORK,
    Lines,
    append,
    carry_out,
)
from manyparts.rollout.recorded_tries import CollectConfig, RecordedTry, portable_tries, record_try
from manyparts.rollout.workers import WorkerError


def config_of(tasks: tuple[str, ...] = TASKS) -> CollectConfig:
    return CollectConfig(tasks, 2, 0, SMALL, Noise(), "png", False, 0)


def tries(shards: Path, count: int, tasks: tuple[str, ...] = TASKS) -> list[RecordedTry]:
    config = config_of(tasks)
    return [RecordedTry(task, number, config, shards) for task in tasks for number in range(count)]


def in_order(jobs: Iterable[Any]) -> Callable[[int], Any]:
    waiting = iter(jobs)
    return lambda worker: next(waiting, None)


def streamed(shards: Path, jobs: Iterable[RecordedTry], **options: Any) -> Any:
    portable = portable_tries(config_of(), shards)
    options = {"folder": shards, "workers": 2} | options
    return stream_on("local", portable, in_order(jobs), **options)


def test_results_are_those_of_other_workers(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    wanted = {(job.task, job.number): record_try(job) for job in tries(here, 2)}
    got = {(job.task, job.number): outcome for job, outcome in streamed(there, tries(there, 2))}
    assert got == wanted
    assert digest(there) == digest(here), "and nothing else is left there"


def test_errors_of_jobs_arrive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^unknown task 'pointmass/nowhere'"):
        list(streamed(tmp_path, tries(tmp_path, 1, ("pointmass/nowhere",))))
    bad = RecordedTry(TASKS[0], -1, config_of(), tmp_path / "nowhere")
    (tmp_path / "nowhere").touch()
    portable = portable_tries(config_of(), tmp_path / "nowhere")
    with pytest.raises(WorkerError, match=r"(?s)worker 0 failed on .*Traceback.*NotADirectory"):
        list(stream_on("local", portable, in_order([bad]), folder=tmp_path, workers=1))
    assert not (tmp_path / MAILBOXES).exists()


def test_a_dead_worker_is_named(tmp_path: Path) -> None:
    def next_job(worker: int) -> RecordedTry | None:
        return RecordedTry(TASKS[0], 0, config_of(), tmp_path)

    portable = portable_tries(config_of(), tmp_path)
    with (
        closing(stream_on("local", portable, next_job, folder=tmp_path, workers=1)) as results,
        pytest.raises(UserError, match=r"worker 0 died while running RecordedTry.*SIGKILL"),
    ):
        next(results)
        [lease] = (tmp_path / MAILBOXES).rglob(".stage-lease")
        os.kill(json.loads(lease.read_text())["process"], signal.SIGKILL)
        for _ in results:
            pass


def test_closing_ends_the_processes(tmp_path: Path) -> None:
    with closing(streamed(tmp_path, tries(tmp_path, 50))) as results:
        next(results)
        leases = list((tmp_path / MAILBOXES).rglob(".stage-lease"))
        processes = [json.loads(path.read_text())["process"] for path in leases]
    assert processes and not (tmp_path / MAILBOXES).exists()
    until = time.monotonic() + 60
    while any(psutil.pid_exists(process) for process in processes):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_free_worker_repeats_what_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a node died, and no other has room for its processes."""
    monkeypatch.setattr(mailbox, "SECONDS_UNTIL_REPEATED", 0.5)
    results = streamed(tmp_path, tries(tmp_path, 4))
    seen = [next(results), next(results)]
    leases = sorted((tmp_path / MAILBOXES).rglob(".stage-lease"))
    stopped = json.loads(leases[-1].read_text())["process"]
    os.kill(stopped, signal.SIGSTOP)
    monkeypatch.setattr(mailbox, "_SECONDS_TO_END", 0.1)
    seen += list(results)
    assert sorted((job.task, job.number) for job, _ in seen) == sorted(
        (job.task, job.number) for job in tries(tmp_path, 4)
    )


def test_a_second_process_goes_on_where_the_first_died(tmp_path: Path) -> None:
    portable = portable_tries(config_of(), tmp_path)
    box = tmp_path / "box"
    box.mkdir()
    work = {"function": portable.function, "shared": portable.shared}
    (box / WORK).write_text(json.dumps(work))
    for number, job in enumerate(tries(tmp_path, 1)):
        append(box / JOBS, {"job": number, "value": portable.write(job)})
    append(box / JOBS, {"job": -1, "value": END})
    append(box / RESULTS, {"job": 0, "kind": "result", "value": "of the first"})
    with (box / RESULTS).open("a") as file:
        file.write('{"job": 1, "kind": "res')  # torn
    lines = Lines(box / RESULTS)
    assert [answer["value"] for answer in lines.new()] == ["of the first"]
    carry_out(box, 1)
    [answer] = lines.new()
    assert answer["job"] == 1 and answer["value"]["success"] is True
    assert len(Lines(box / RESULTS).new()) == 2


def test_only_functions_of_this_package_are_called(tmp_path: Path) -> None:
    (tmp_path / WORK).write_text(json.dumps({"function": "os:system", "shared": "true"}))
    with pytest.raises(UserError, match="'os:system' is no function of manyparts"):
        carry_out(tmp_path, 1)
