"""Jobs in worker processes: every result once, clear errors, nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from rollout.jobs import Mishap, go_wrong, name_heavy_modules, name_threads, square

from manyparts.core.errors import UserError
from manyparts.rollout.workers import Affinity, WorkerError, stream


def in_order(jobs: Iterable[Any]) -> Callable[[int], Any]:
    waiting = iter(jobs)
    return lambda worker: next(waiting, None)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_job_is_done_once(workers: int) -> None:
    results = list(stream(square, in_order(range(1, 20)), workers=workers))
    assert sorted((job, result[0]) for job, result in results) == [(n, n**2) for n in range(1, 20)]
    processes = {result[1] for _, result in results}
    assert len(processes) <= workers
    assert os.getpid() not in processes


def test_jobs_may_depend_on_results() -> None:
    done: list[int] = []

    def next_job(worker: int) -> int | None:
        return len(done) + 1 if len(done) < 5 and worker == len(done) % 2 else None

    for _, (result, _) in stream(square, next_job, workers=2):
        done.append(result)
    assert done == [1, 4, 9, 16, 25]


def test_workers_use_one_thread_each() -> None:
    [(_, threads)] = stream(name_threads, in_order([1]), workers=1)
    assert threads == {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
    [(_, modules)] = stream(name_heavy_modules, in_order([1]), workers=1)
    assert modules == []


def test_user_errors_arrive_as_such() -> None:
    with pytest.raises(UserError, match=r"^unknown task 'moon/walk'$"):
        list(stream(go_wrong, in_order([Mishap("user error")]), workers=2))


def test_bugs_arrive_with_their_traceback() -> None:
    with pytest.raises(
        WorkerError, match=r"(?s)Mishap\(kind='bug'.*go_wrong.*ZeroDivisionError: one by nought"
    ):
        list(stream(go_wrong, in_order([Mishap("bug")]), workers=2))


def test_dead_workers_are_named_with_signal() -> None:
    expected = (
        r"^worker 0 died while running Mishap\(kind='killed'.*signal SIGKILL.*memory.*--workers 1$"
    )
    with pytest.raises(UserError, match=expected):
        list(stream(go_wrong, in_order([Mishap("killed")]), workers=2))


def test_no_workers_are_refused() -> None:
    with pytest.raises(UserError, match="workers is 0; expected at least 1"):
        list(stream(square, in_order([1]), workers=0))


def test_closing_the_stream_ends_workers(tmp_path: Path) -> None:
    jobs = in_order([Mishap("quick"), Mishap("slow", tmp_path / "slow")])
    with closing(stream(go_wrong, jobs, workers=2)) as results:
        next(results)
        pid = wait_for_pid(tmp_path / "slow")
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    "signal_number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"]
)
def test_workers_do_not_outlive_their_parent(tmp_path: Path, signal_number: int) -> None:
    """The main script has no `if __name__ == "__main__"`: workers must not run it again."""
    script = (
        f"import signal, sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        # a shell that starts tests in the background lets its children ignore the signal
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from rollout.jobs import Mishap, go_wrong\n"
        "from manyparts.rollout.workers import stream\n"
        f"jobs = iter([Mishap('slow', Path({str(tmp_path / 'slow')!r}))])\n"
        "list(stream(go_wrong, lambda worker: next(jobs, None), workers=1))\n"
    )
    (tmp_path / "main.py").write_text(script)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "main.py"], stderr=subprocess.PIPE, text=True
    )
    pid = wait_for_pid(tmp_path / "slow")
    parent.send_signal(signal_number)
    _, errors = parent.communicate(timeout=300)
    assert signal_number == signal.SIGKILL or errors.rstrip().endswith("KeyboardInterrupt")
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=200)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_affinity_gives_workers_different_tasks() -> None:
    affinity = Affinity()
    assert affinity.choose(0, {"a": 2, "b": 3}) == "b"
    assert affinity.choose(1, {"a": 2, "b": 9}) == "a"
    assert affinity.choose(0, {"a": 9, "b": 1}) == "b"
    assert affinity.choose(0, {"a": 1, "b": 0}) == "a"
    assert affinity.choose(1, {"a": 0, "b": 0}) is None


def wait_for_pid(path: Path, timeout_seconds: float = 600.0) -> int:
    deadline = time.monotonic() + timeout_seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.01)
    return int(path.read_text())
