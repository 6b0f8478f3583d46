"""Claims on a folder: one holder, also among machines; a dead one's is taken over, and a slow one
ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from manyparts.core.errors import UserError
from manyparts.core.host.processes import machine
from manyparts.core.storage import leases
from manyparts.core.storage.leases import leased
from manyparts.core.storage.locks import LOCK, hold

# Holds a claim until its input ends.
HOLDER = (
    "import sys\nfrom pathlib import Path\nfrom manyparts.core.storage import leases\n"
    "leases.SECONDS_BETWEEN_RENEWALS = 0.05\n"
    "with leases.leased(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n    sys.stdin.read()\n"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SECONDS_BETWEEN_RENEWALS", 0.05)
    monkeypatch.setattr(leases, "SECONDS_UNTIL_LOST", 0.5)


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def elsewhere(path: Path, renewal: int = 0) -> None:
    """Write the claim of a process of another machine."""
    other = {"machine": "other", "process": 1, "started": "1", "token": "x", "renewals": renewal}
    path.write_text(json.dumps(other))


def test_a_claim_waits_for_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    first = holder(path)
    taken = threading.Event()

    def take() -> None:
        with leased(path):
            taken.set()

    waiting = threading.Thread(target=take)
    waiting.start()
    assert not taken.wait(1.5), "its holder renews it"
    first.communicate()
    waiting.join(60)
    assert taken.is_set() and not path.exists()


def test_a_dead_process_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SECONDS_UNTIL_LOST", 1e9)
    first = holder(tmp_path / "lease")
    first.kill()
    first.wait()
    assert (tmp_path / "lease").exists()
    with leased(tmp_path / "lease"):
        pass
    assert not (tmp_path / "lease").exists()


def test_a_claim_of_another_machine_counts_while_renewed(tmp_path: Path) -> None:
    path, until = tmp_path / "lease", time.monotonic() + 1.5
    elsewhere(path)
    renewals = 0

    def renew() -> None:
        nonlocal renewals
        while time.monotonic() < until:
            renewals += 1
            elsewhere(path, renewals)
            time.sleep(0.05)

    renewing = threading.Thread(target=renew)
    renewing.start()
    with leased(path):
        assert time.monotonic() > until, "the other one still renewed it"
    renewing.join()
    assert not path.exists()


def test_a_process_ends_whose_claim_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    first = holder(path)
    until = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < until:
        elsewhere(path)
        time.sleep(0.02)
    assert first.returncode == 1 and first.stderr is not None
    errors = first.stderr.read()
    assert errors == f"{path} was taken over by another process; this one ends\n"
    assert json.loads(path.read_text())["token"] == "x"


def test_a_machine_without_a_whole_name_is_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """All containers of a machine would have the same, and none knows the others' processes."""

    def refuse(path: object) -> str:
        raise PermissionError(path)

    assert sys.platform != "linux" or machine()
    monkeypatch.setattr(os, "readlink", refuse)
    assert machine() == ""


def test_locks_of_dead_machines_are_nobodys(tmp_path: Path) -> None:
    """A file server may keep the lock of a machine that died."""
    run = tmp_path / "run"
    run.mkdir()
    for name in (LOCK, f"{LOCK}.owner"):
        (run / name).write_text("process 1 of other-machine 1")
    with (run / LOCK).open() as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        refused = pytest.raises(UserError, match=r"run is in use .*process 1 of other-machine")
        with refused, hold(run / LOCK, what="run"):
            pass
        with leased(tmp_path / "lease"), hold(run / LOCK, what="run"):
            pass
        for container in ("", " pid:[1]"):  # its locks end with its processes
            (run / LOCK).write_text(f"process 1 of {socket.gethostname()} 1{container}")
            refused = pytest.raises(UserError, match="run is in use")
            with leased(tmp_path / "lease"), refused, hold(run / LOCK, what="run"):
                pass


def test_named_owners_on_dead_machines_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    owner = tmp_path / f"{LOCK}.owner"
    owner.write_text("process 1 of other-machine 1")
    with leased(tmp_path / "lease"), hold(tmp_path / LOCK, what="run"):
        assert f"process {os.getpid()} of" in owner.read_text()
