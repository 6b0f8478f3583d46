"""Files and folders that appear whole: written under a temporary name, then renamed in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.host.processes import alive, namespace
from manyparts.core.storage.caches import cache_advice

_TEMPORARY_FILE = ".tmp-"  # a temporary file's name is the file's, this, and the process's number


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file, or leave what was there.

    Args:
        path: The file, in a folder that exists.
        content: All bytes of the file.

    Raises:
        UserError: The disk refuses; the error names the file.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which is renamed to it when the block ends well.

    For files that another library writes; `write_atomically` is for bytes.

    Raises:
        UserError: The disk refuses; the error names the file.
    """
    temporary = path.with_name(f"{path.name}{_TEMPORARY_FILE}{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def is_temporary_file(name: str, of: str) -> bool:
    """Return whether a file is half-written and would have become another one.

    Args:
        name: The file's name.
        of: The name of the complete file.
    """
    return name.startswith(f"{of}{_TEMPORARY_FILE}")


def remove_temporary_files(folder: Path) -> None:
    """Remove the half-written files that killed processes left in a folder or below it."""
    for path in folder.rglob(f"*{_TEMPORARY_FILE}*"):
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}{cache_advice(path)}") from error


def temporary_folder(path: Path) -> Path:
    """Make a hidden folder next to `path`, for content that later takes its name.

    Folders that killed processes of this machine left there are removed, and in a container those
    of its own: the numbers of others' processes say nothing here.

    Raises:
        UserError: It cannot be made.
    """
    # A container may have this machine's name, and other processes of the same numbers.
    mark = "".join(filter(str.isdigit, namespace()))
    prefix = f".{path.name}.partial-{socket.gethostname()}.{mark}-"
    make_folder(path.parent)
    # Whole names: another machine's name may begin with this one's.
    own = re.compile(re.escape(prefix) + r"(\d+)-[0-9a-f]+")
    for other in path.parent.iterdir():
        found = own.fullmatch(other.name)
        if found and not alive(int(found[1])):
            shutil.rmtree(other, ignore_errors=True)
    folder = path.parent / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
    make_folder(folder)
    return folder


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder that takes the name `path` when the block ends well, else is removed.

    Raises:
        UserError: There is something at `path`, or the disk refuses.
    """
    taken = f"{path} exists; choose another output folder"
    try:
        if path.exists():
            raise UserError(taken)
        folder = temporary_folder(path)
        try:
            yield folder
            if not rename_into_place(folder, path):
                raise UserError(taken)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, path) from error


def rename_into_place(folder: Path, path: Path) -> bool:
    """Rename a folder, unless its new name is taken.

    Args:
        folder: The folder.
        path: Its new path, on the same file system.

    Returns:
        False, with nothing changed, if something has that name already.

    Raises:
        OSError: It cannot be renamed for another reason.
    """
    try:
        if not path.exists():
            folder.rename(path)
            return True
    except OSError as error:  # another process was faster
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
    return False


def replace_folder(folder: Path, path: Path) -> None:
    """Rename a folder and remove what had its new name.

    At every moment both names hold a whole folder. Where the system cannot exchange two names, a
    kill between two renames leaves the former folder as `NAME.before-XXXX`, which nothing removes.

    Args:
        folder: The folder.
        path: Its new path, where a folder is now.
    """
    _exchange(folder, path)
    shutil.rmtree(folder, ignore_errors=True)


def is_full(error: OSError) -> bool:
    """Return whether an error says that the disk is full."""
    return error.errno == errno.ENOSPC or "No space left on device" in str(error)


def disk_error(error: OSError, path: Path) -> Exception:
    """Return a UserError if the disk is full, else the error itself.

    Args:
        error: The error that writing raised.
        path: What was written, for the UserError.
    """
    if is_full(error):
        return UserError(f"disk full while writing {path}{cache_advice(path)}")
    return error


def _exchange(first: Path, second: Path) -> None:
    """Give two folders each other's name."""
    if _exchange_by_system(os.fsencode(first), os.fsencode(second)):
        return
    # No name of `temporary_folder`, which removes what killed processes left.
    aside = second.with_name(f"{second.name}.before-{secrets.token_hex(4)}")
    second.rename(aside)
    first.rename(second)
    aside.rename(first)


def _exchange_by_system(first: bytes, second: bytes) -> bool:
    """Exchange two names in one step; return whether the system and the file system could."""
    library, exchange_flag = ctypes.CDLL(None), 2
    if hasattr(library, "renameat2"):  # Linux
        at_working_directory = -100
        code = library.renameat2(
            at_working_directory, first, at_working_directory, second, exchange_flag
        )
        return code == 0
    if hasattr(library, "renamex_np"):  # macOS
        return library.renamex_np(first, second, exchange_flag) == 0
    return False
