"""Files and folders that are made aside and take their name whole, in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import socket
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.host.processes import alive
from manyparts.core.storage.caches import cache_advice


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file or none. Raises UserError naming the file if the disk refuses."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises UserError if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}{cache_advice(path)}") from error


def temporary_folder(path: Path) -> Path:
    """A fresh hidden folder beside `path`; those that killed processes of this machine left there
    are removed. Raises UserError if none can be made."""
    prefix = f".{path.name}.partial-{socket.gethostname()}-"
    make_folder(path.parent)
    for left in path.parent.glob(f"{prefix}*"):
        if not alive(int(left.name.removeprefix(prefix).split("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    folder = path.parent / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
    make_folder(folder)
    return folder


def rename_into_place(folder: Path, path: Path) -> bool:
    """Give `folder` the name `path`. False, with nothing changed, if something bears it already."""
    try:
        if not path.exists():
            folder.rename(path)
            return True
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
    return False


def replace_folder(folder: Path, path: Path) -> None:
    """Give `folder` the name `path` and remove what bore it; both names hold a whole folder at
    every moment."""
    _exchange(folder, path)
    shutil.rmtree(folder, ignore_errors=True)


def disk_error(error: OSError, path: Path) -> Exception:
    """A UserError if the disk is full, else the error itself."""
    if error.errno == errno.ENOSPC or "No space left on device" in str(error):
        return UserError(f"disk full while writing {path}{cache_advice(path)}")
    return error


def _exchange(one: Path, other: Path) -> None:
    if _exchanged_by_system(os.fsencode(one), os.fsencode(other)):
        return
    aside = one.with_name(f"{one.name}.old")  # without the system's exchange: two renames
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _exchanged_by_system(one: bytes, other: bytes) -> bool:
    """Whether Linux or macOS could give two folders each other's name in one step; some file
    systems cannot."""
    library, exchange = ctypes.CDLL(None), 2
    if hasattr(library, "renameat2"):
        at_working_directory = -100
        return (
            library.renameat2(at_working_directory, one, at_working_directory, other, exchange) == 0
        )
    return hasattr(library, "renamex_np") and library.renamex_np(one, other, exchange) == 0
