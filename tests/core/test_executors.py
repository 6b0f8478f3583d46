"""Executors: a process for a folder, how it ended, interrupts, nobody left behind; and what a
machine must have in common with another."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from manyparts.core.errors import UserError
from manyparts.core.executors import slurm_jobs
from manyparts.core.executors.executor import Executor, is_local, opened, workers_on
from manyparts.core.executors.local import LocalExecutor
from manyparts.core.executors.nodes import described, require_fitting, require_shared, token_in
from manyparts.core.executors.ray_cluster import require_listener
from manyparts.core.executors.slurm_jobs import MAX_RETRIES
from manyparts.core.executors.slurm_jobs import code_of as code_of_job

MODULE = "core.folders"


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.02)


def folder_with(path: Path, work: str) -> Path:
    path.mkdir()
    (path / "work").write_text(work)
    return path


def start(executor: Executor, folder: Path) -> int:
    return executor.start(MODULE, folder, folder / "log.txt", cores=1)


def code_of(executor: Executor, number: int) -> int:
    wait_until(lambda: executor.exit_code(number) is not None)
    code = executor.exit_code(number)
    assert code is not None
    return code


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Executor]:
    with opened("local", tmp_path, variables={"OMP_NUM_THREADS": "1"}) as executor:
        yield executor


def test_processes_do_what_folders_say(local: Executor, tmp_path: Path) -> None:
    works = {"write": 0, "user error": 2, "bug": 1, "killed": -9}
    folders = {work: folder_with(tmp_path / work, work) for work in works}
    numbers = {work: start(local, folder) for work, folder in folders.items()}
    assert {work: code_of(local, number) for work, number in numbers.items()} == works
    assert (folders["write"] / "cores").read_text() == "1 1"
    logs = {work: (folder / "log.txt").read_text() for work, folder in folders.items()}
    assert logs["write"] == "written\n"
    assert logs["user error"] == "error: unknown task 'moon/walk'\n"
    assert "ZeroDivisionError: one by nought" in logs["bug"]
    assert sum(local.nodes) >= 1


def test_an_interrupted_process_saves(local: Executor, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "wait", "wait")
    number = start(local, folder)
    wait_until((folder / "pid").exists)
    assert local.exit_code(number) is None
    local.interrupt(number)
    assert code_of(local, number) == 130
    assert (folder / "saved").exists()


def test_one_process_at_a_time_per_folder(tmp_path: Path) -> None:
    """The process of a runner that was killed keeps its folder until it ends."""
    folder = folder_with(tmp_path / "wait", "wait")
    with opened("local", tmp_path, variables={}) as first:
        start(first, folder)
        wait_until((folder / "pid").exists)
        before = (folder / "pid").read_text()
        with opened("local", tmp_path, variables={}) as second:
            other = start(second, folder)
            first.interrupt(0)
            assert code_of(first, 0) == 130
            wait_until(lambda: (folder / "pid").read_text() not in ("", before))
            assert second.exit_code(other) is None
            last = int((folder / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(last))


def test_addresses_of_executors_are_checked() -> None:
    assert is_local("local")
    assert not any(map(is_local, ("ray://head:6379", "slurm", "slurm:main")))
    for wrong in ("slurms", "Local", "head:6379", ""):
        with pytest.raises(UserError, match=r"choices: local, ray://HOST:PORT, slurm, slurm:PART"):
            is_local(wrong)
    for wrong in ("head", "head:", ":6379", "head:http"):
        with pytest.raises(UserError, match=r"expected ray://HOST:PORT, such as ray://\S+:6379$"):
            require_listener(f"ray://{wrong}", wrong)
    with pytest.raises(UserError, match=r"nobody answers at ray://127.0.0.1:1 \(.*refused"):
        require_listener("ray://127.0.0.1:1", "127.0.0.1:1")


def test_more_workers_than_cores_are_refused_on_clusters() -> None:
    assert workers_on((2, 2), None, "ray://head:6379") == 4
    assert workers_on((2,), 3, "local") == 3
    with pytest.raises(UserError, match=r"workers is 5, and the 2 nodes of ray://h:1 have 4 cores"):
        workers_on((2, 2), 5, "ray://h:1")
    assert workers_on((2, 2), 3, "slurm:main") == 3
    with pytest.raises(UserError, match="executor slurm needs --workers: how many of its 9999 cor"):
        workers_on((9999,), None, "slurm")


def test_missing_clusters_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for address, message in (
        ("ray://127.0.0.1:1", r"executor ray://127.0.0.1:1 needs ray: pip install 'ray>=2.50'$"),
        ("slurm", "executor slurm needs Slurm: there is no command srun here"),
    ):
        with pytest.raises(UserError, match=message), opened(address, tmp_path, variables={}):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "errors", "expected"),
    [
        (0, "", 0),
        (2, "srun: error: vm: task 0: Exited with exit code 2\n", 2),
        (137, "srun: error: vm: task 0: Killed\n", -9),
        (0, "srun: error: Node failure on vm\n", None),  # as Slurm 22.05 has it
        (1, "srun: error: Unable to allocate resources: Invalid partition name specified", None),
        (143, "srun: Force Terminated job 3\n", None),
    ],
)
def test_codes_of_jobs_are_those_of_their_processes(
    code: int, errors: str, expected: int | None
) -> None:
    assert code_of_job(code, errors) == expected


def test_nodes_that_differ_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_text("1")
    with token_in(tmp_path) as token:
        here = described(str(token), [str(weights)])
        assert here == described(str(token), [str(weights)])
    assert not token.exists() and here["packages"]["torch"]
    require_fitting("node b", here, here)
    for change, message in (
        ({"python": "3.10.1"}, "node b has Python 3.10.1, and this machine 3"),
        ({"version": "0.1.0"}, "node b has manyparts 0.1.0, and this machine"),
        ({"code": "abc"}, r"node b has other code of manyparts .* \(abc\)"),
        ({"packages": here["packages"] | {"torch": "1.0"}}, "node b has torch 1.0, and this"),
        ({"inputs": {str(weights): "other"}}, f"node b has another {weights}; put it on a disk"),
        ({"inputs": {str(weights): None}}, f"node b does not see {weights}; put it on a disk"),
    ):
        with pytest.raises(UserError, match=message):
            require_fitting("node b", here | change, here)
    require_fitting("node b", here | {"packages": {}}, here)  # a stage says what it lacks
    require_shared("node b", here, here, tmp_path)
    with pytest.raises(UserError, match=f"node b does not see {tmp_path}; choose an --output"):
        require_shared("node b", here | {"token": None}, here, tmp_path)


def test_a_server_that_died_is_noticed_by_the_next_start(tmp_path: Path) -> None:
    """Its processes have ended with it, and somebody may wait for them."""
    first, second = (folder_with(tmp_path / name, "wait") for name in ("first", "second"))
    with opened("local", tmp_path, variables={}) as executor:
        assert isinstance(executor, LocalExecutor)
        number = start(executor, first)
        wait_until((first / "pid").exists)
        executor._server.kill()
        executor._server.wait()
        other = start(executor, second)
        assert executor.exit_code(number) == -signal.SIGKILL
        wait_until((second / "pid").exists)
        executor.interrupt(other)
        assert code_of(executor, other) == 130


def test_only_used_time_lets_a_job_of_slurm_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that says what Slurm's says of a job that used its time."""
    over = "echo 'srun: error: n1: task 0: Exited with exit code 130' >&2; exit 130"
    begun = f"echo '{slurm_jobs._BEGUN}' >&2"
    clients = {"queued": f"sleep 0.3; {begun}; {over}", "at work": f"{begun}; sleep 0.3; {over}"}
    monkeypatch.setattr(slurm_jobs, "_SHORT_SECONDS", 0.1)

    def restarts(log: Path) -> int:
        return log.read_text().count("started again") if log.exists() else 0

    def goes_on(client: str, log: Path) -> bool:
        job = slurm_jobs._Job(["sh", "-c", client], os.environ, log)
        wait_until(lambda: job.exit_code() is not None or restarts(log) > 2 * MAX_RETRIES)
        job.end()
        return restarts(log) > MAX_RETRIES

    assert {name: goes_on(client, tmp_path / name) for name, client in clients.items()} == {
        "queued": False,
        "at work": True,
    }
