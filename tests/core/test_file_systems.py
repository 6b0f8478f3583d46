"""File systems without locks (some NFS, Lustre, FUSE) and without links (exFAT, some network
shares)."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from manyparts.core.errors import UserError
from manyparts.core.storage.links import (
    knows_links,
    link_or_copy,
    point_at,
    pointed_at,
    symlink_or_copy,
)
from manyparts.core.storage.locks import LOCK, LOCK_FILES, can_be_locked, hold, knows_locks


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def without_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object, **options: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_holder_without_locks(tmp_path: Path, without_locks: None) -> None:
    assert not knows_locks(tmp_path)
    with hold(tmp_path / LOCK, what="the folder"):
        assert {path.name for path in tmp_path.iterdir()} == LOCK_FILES
        refused = pytest.raises(
            UserError, match=rf"the folder is in use .*process {os.getpid()} .*delete .*\.owner"
        )
        with refused, hold(tmp_path / LOCK, what="the folder"):
            pass
    with hold(tmp_path / LOCK, what="the folder"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {LOCK}


@pytest.mark.parametrize("wait", [False, True])
def test_dead_holder_is_followed_without_locks(
    tmp_path: Path, without_locks: None, wait: bool
) -> None:
    (tmp_path / f"{LOCK}.owner").write_text(
        f"process {ended_process()} of {socket.gethostname()} 1"
    )
    with hold(tmp_path / LOCK, what="the folder", wait=wait):
        pass


def test_reused_pid_is_free_without_locks(tmp_path: Path, without_locks: None) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system does not say when a process began")
    (tmp_path / f"{LOCK}.owner").write_text(f"process {os.getpid()} of {socket.gethostname()} 1")
    with hold(tmp_path / LOCK, what="the folder"):
        pass


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("container", ["elsewhere 1", f"{socket.gethostname()} 1 pid:[1]"])
def test_without_locks_another_machine_is_believed(
    tmp_path: Path, without_locks: None, container: str, wait: bool
) -> None:
    """And a container of this one: its processes have numbers of their own."""
    (tmp_path / f"{LOCK}.owner").write_text(f"process {ended_process()} of {container}")
    with (
        pytest.raises(UserError, match=f"process .* of {container.split()[0]}"),
        hold(tmp_path / LOCK, what="it", wait=wait),
    ):
        pass


def test_hdf5_works_without_locks(tmp_path: Path) -> None:
    """Its library asks for locks itself, past Python."""
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a library that refuses locks needs gcc and LD_PRELOAD")
    pytest.importorskip("h5py")
    source = (
        f"#include <errno.h>\nint flock(int file, int how) {{ errno = {errno.ENOLCK}; return -1; }}"
    )
    (tmp_path / "refuse.c").write_text(source)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", tmp_path / "refuse.so", tmp_path / "refuse.c"],
        check=True,
    )
    code = (
        "import h5py, sys; from pathlib import Path\n"
        "from manyparts.core.storage.locks import can_be_locked, knows_locks\n"
        "path = Path(sys.argv[1])\n"
        "with h5py.File(path, 'w', locking=knows_locks(path.parent)) as file: file['a'] = 1\n"
        "with h5py.File(path, 'r', locking=can_be_locked(path)) as file: print(file['a'][()])"
    )
    preload = os.environ | {"LD_PRELOAD": str(tmp_path / "refuse.so")}
    command = [sys.executable, "-c", code, str(tmp_path / "some.h5")]
    result = subprocess.run(command, env=preload, capture_output=True, text=True, check=False)
    assert result.stdout == "1\n", result.stderr


def test_foreign_locks_do_not_block(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert can_be_locked(tmp_path / "file")


def test_a_pointer_needs_no_links(tmp_path: Path, without_links: None) -> None:
    assert not knows_links(tmp_path)
    for name in ("000010", "000020"):
        (tmp_path / name).mkdir()
        point_at(tmp_path / "last", name)
        assert pointed_at(tmp_path / "last") == name
    assert (tmp_path / "last").read_text() == "000020\n"


def test_files_are_copied_without_links(tmp_path: Path, without_links: None) -> None:
    (tmp_path / "source").write_text("content")
    link_or_copy(tmp_path / "source", tmp_path / "one")
    symlink_or_copy(tmp_path / "source", tmp_path / "other")
    assert (tmp_path / "one").read_text() == (tmp_path / "other").read_text() == "content"


@pytest.mark.parametrize("text", ["../000010", "/etc/passwd", "", "\0", "x" * 5000], ids=repr)
def test_other_texts_are_no_pointers(tmp_path: Path, text: str) -> None:
    (tmp_path / "last").write_text(text)
    assert pointed_at(tmp_path / "last") is None


def test_links_to_elsewhere_are_no_pointers(tmp_path: Path) -> None:
    (tmp_path / "last").symlink_to(tmp_path.parent / "000010")
    assert pointed_at(tmp_path / "last") is None
    assert pointed_at(tmp_path) is None and pointed_at(tmp_path / "nothing") is None
