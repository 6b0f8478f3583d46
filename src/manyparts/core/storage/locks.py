"""A lock file that one process at a time holds, also where the file system has no locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.host.processes import alive, namespace, started
from manyparts.core.storage.atomic import make_folder
from manyparts.core.storage.leases import covers

LOCK = ".lock"
_OWNER = ".owner"
LOCK_FILES = frozenset({LOCK, LOCK + _OWNER})
_SECONDS_BETWEEN_LOOKS = 0.2


def knows_locks(folder: Path) -> bool:
    """Return whether files in a folder can be locked, by locking one."""
    trial = folder / f".lock-trial-{os.getpid()}"
    try:
        with open(trial, "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        trial.unlink(missing_ok=True)
    return True


def can_be_locked(file: Path) -> bool:
    """Return whether this file can be locked, or is locked by another process.

    HDF5 cannot open a file that the file system cannot lock.
    """
    try:
        with open(file, "rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def hold(path: Path, *, what: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock file while the block runs. The system frees it when the process ends.

    Some file systems refuse locks (some NFS, Lustre, FUSE). There a second file names the process
    that holds the lock. If that process has ended, the next one takes over. On some, the lock of a
    machine that died stays: it counts no more where this process has a claim, see `leases`.

    Args:
        path: The lock file, which is made.
        what: What the lock guards, for the error.
        wait: Wait until the lock is free.

    Raises:
        UserError: Another process holds it, or the file cannot be made.
    """
    try:
        opened = open(path, "a", encoding="utf-8")  # noqa: SIM115, closed below
    except OSError as error:
        raise UserError(
            f"{what}: no file can be made in {path.parent} ({error.strerror}); choose another "
            "folder"
        ) from error
    with opened as file:
        is_locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = _read(path)
            # A container of this machine is not elsewhere: its locks end with its processes.
            if _host_of(holder) in ("", socket.gethostname()) or not covers(path):
                raise UserError(
                    f"{what} is in use by another process{_shown(holder)}; wait until that ends, "
                    "end it, or choose another folder"
                ) from None
            is_locked = False
        except OSError:  # this file system has no locks
            with _named_owner(path.with_name(path.name + _OWNER), what, wait):
                yield
            return
        if not is_locked:
            yield
            return
        # The file says who holds the lock. Nobody reads it once the lock is free.
        _overwrite(file.fileno(), _describe(os.getpid()))
        try:
            yield
        finally:
            _overwrite(file.fileno(), "")


@contextlib.contextmanager
def hold_beside(folder: Path, *, what: str) -> Iterator[None]:
    """Hold a folder that each change replaces as a whole, by a file beside it, which goes again.

    Args:
        folder: The folder; it may be missing, and those above it are made.
        what: What the lock guards, for the error.

    Raises:
        UserError: Another process holds it, or the folder above it cannot be written.
    """
    folder = folder.resolve() if folder.is_symlink() else folder
    lock = folder.with_name(f".{folder.name}{LOCK}")
    make_folder(folder.parent)
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise UserError(f"{what}: {folder.parent} cannot be written; choose another folder")
    with hold(lock, what=what):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _overwrite(descriptor: int, content: str) -> None:
    """Replace a file's content, if the disk allows it."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, content.encode())


def _shown(holder: str) -> str:
    """Name a holder in an error: " (process NUMBER of HOST)"; nothing for an unnamed one."""
    words = holder.split()
    return f" ({' '.join(words[:4])})" if words else ""


@contextlib.contextmanager
def _named_owner(path: Path, what: str, wait: bool) -> Iterator[None]:
    """Hold a file that names this process, while the block runs."""
    own = _describe(os.getpid())
    while not _create(path, own):
        holder = _read(path)
        if _has_ended(holder) or (_is_elsewhere(holder) and covers(path)):
            path.unlink(missing_ok=True)
        elif wait and _is_here(holder):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        else:
            raise UserError(
                f"{what} is in use by another process{_shown(holder)}; wait until that ends, or, "
                f"if it has ended (this file system has no locks), delete {path}"
            )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _describe(process: int) -> str:
    """Name a process: "process NUMBER of HOST STARTED NAMESPACE"."""
    return f"process {process} of {socket.gethostname()} {started(process)} {namespace()}".strip()


def _create(path: Path, content: str) -> bool:
    """Make a file if there is none; of several processes only one succeeds."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _is_here(holder: str) -> bool:
    """Return whether the named process is of this machine, and of this container; only then can it
    be checked."""
    words = holder.split()
    known = _host_of(holder) == socket.gethostname() and words[1].isdigit()
    # Versions before did not name the namespace, which is a container's own.
    return known and words[5:] in ([], namespace().split())


def _is_elsewhere(holder: str) -> bool:
    """Return whether the named process is of another machine or container."""
    return bool(_host_of(holder)) and not _is_here(holder)


def _host_of(holder: str) -> str:
    """Return the named process's machine; empty if none is named."""
    words = holder.split()
    return words[3] if len(words) >= 4 else ""


def _has_ended(holder: str) -> bool:
    if not _is_here(holder):
        return False
    words = holder.split()
    process = int(words[1])
    return not alive(process) or _describe(process).split()[: len(words)] != words
