"""A claim that processes of several machines honour: a file that its holder renews.

A lock of the system (`locks`) is known on one machine alone where a shared file system does not
pass it on, and it may outlive a machine that died. Nobody compares clocks here: whoever waits
watches whether the file changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyparts.core.host.processes import alive, machine, started
from manyparts.core.printing import say

SECONDS_BETWEEN_RENEWALS = 2.0
SECONDS_UNTIL_LOST = 20.0  # without a renewal
_SECONDS_BETWEEN_LOOKS = 0.2
_covered: set[Path] = set()  # folders that this process has a claim on


@contextlib.contextmanager
def leased(path: Path) -> Iterator[None]:
    """Hold a claim while the block runs; wait for it if another process renews it.

    A claim is taken over if its process has ended, as far as this machine can tell, or has not
    renewed it for 20 seconds. A process that finds its own claim taken over, as after a long pause,
    exits at once with code 1, so that two never work for long on the same files. Locks in the
    folder that a process of another machine left are then nobody's, see `covers`.

    Args:
        path: The file, in a folder that exists.
    """
    own = {"host": socket.gethostname(), "machine": machine(), "process": os.getpid()}
    own |= {"started": started(os.getpid()), "token": secrets.token_hex(8)}
    _claim(path, own)
    finished = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, own, finished), daemon=True)
    renewing.start()
    folder = path.parent.resolve()
    _covered.add(folder)
    try:
        yield
    finally:
        _covered.discard(folder)
        finished.set()
        renewing.join()
        if _is_held_by(path, own):
            with contextlib.suppress(OSError):
                path.unlink()


def covers(path: Path) -> bool:
    """Return whether this process holds a claim on a folder above a file, so that no other machine
    works there."""
    return not _covered.isdisjoint(path.resolve().parents)


def _claim(path: Path, own: dict[str, Any]) -> None:
    """Wait until the file is this process's."""
    seen, since = b"", time.monotonic()
    while not _create(path, own):
        content = _content(path)
        if content != seen:
            seen, since = content, time.monotonic()
        lost = time.monotonic() - since > SECONDS_UNTIL_LOST
        if lost or _has_ended(_parsed(content)):
            _replace(path, own)
            # Of several that took it over, the last one has it. A holder that was only slow notices
            # within this time, or has renewed it.
            time.sleep(SECONDS_BETWEEN_RENEWALS)
            if _is_held_by(path, own):
                return
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _renew(path: Path, own: dict[str, Any], finished: threading.Event) -> None:
    renewals = 0
    while not finished.wait(SECONDS_BETWEEN_RENEWALS):
        if _parsed(_content(path)).get("token", own["token"]) != own["token"]:
            say(f"{path} was taken over by another process; this one ends", error=True)
            os._exit(1)
        renewals += 1
        with contextlib.suppress(OSError):  # a full disk; the next renewal may succeed
            _replace(path, own | {"renewals": renewals})


def _create(path: Path, own: dict[str, Any]) -> bool:
    """Make the file if there is none; of several processes only one succeeds."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(own).encode())
    return True


def _replace(path: Path, own: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.tmp-{own['token']}")
    temporary.write_bytes(json.dumps(own).encode())
    os.replace(temporary, path)


def _content(path: Path) -> bytes:
    # Opening a file makes a network file system ask whether it has changed.
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parsed(content: bytes) -> dict[str, Any]:
    """Return what a file says; nothing while it is being written."""
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _is_held_by(path: Path, own: dict[str, Any]) -> bool:
    return _parsed(_content(path)).get("token") == own["token"]


def _has_ended(holder: dict[str, Any]) -> bool:
    """Return whether the holder is of this machine, where that can be known, and has ended."""
    process = holder.get("process")
    if not machine() or holder.get("machine") != machine() or not isinstance(process, int):
        return False
    return not alive(process) or started(process) != holder.get("started")
