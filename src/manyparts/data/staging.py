"""Where caches lie, and folders that are made aside and take their name whole, in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import socket
from pathlib import Path

from manyparts.naming import FORMER_NAME, NAME
from manyparts.types import UserError

CACHE_VARIABLES = (f"{NAME.upper()}_CACHE", f"{FORMER_NAME.upper()}_CACHE")  # the first that is set decides


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Where caches lie: `cache_dir`, else $MANYPARTS_CACHE, else ~/.cache/manyparts.

    The variable and the folder of the project's former name serve where those of today are absent.
    """
    chosen = cache_dir or next(filter(None, map(os.environ.get, CACHE_VARIABLES)), None) or _usual_cache()
    return Path(chosen).expanduser()


def _usual_cache() -> Path:
    current, former = (Path.home() / ".cache" / name for name in (NAME, FORMER_NAME))
    return former if former.is_dir() and not current.exists() else current


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises UserError if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def temporary_folder(path: Path) -> Path:
    """A fresh hidden folder beside `path`; those that killed processes of this machine left there are removed. Raises
    UserError if none can be made."""
    prefix = f".{path.name}.partial-{socket.gethostname()}-"
    make_folder(path.parent)
    for left in path.parent.glob(f"{prefix}*"):
        if not _alive(int(left.name.removeprefix(prefix).split("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    folder = path.parent / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
    make_folder(folder)
    return folder


def put_in_place(folder: Path, path: Path) -> bool:
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
    """Give `folder` the name `path` and remove what bore it; both names hold a whole folder at every moment."""
    _exchange(folder, path)
    shutil.rmtree(folder, ignore_errors=True)


def disk_error(error: OSError, path: Path) -> Exception:
    """A UserError if the disk is full, else the error itself."""
    if error.errno == errno.ENOSPC or "No space left on device" in str(error):
        return UserError(f"disk full while writing {path}")
    return error


def _exchange(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "renameat2"):
        at_working_directory, exchange = -100, 2
        names = os.fsencode(one), os.fsencode(other)
        if library.renameat2(at_working_directory, names[0], at_working_directory, names[1], exchange) == 0:
            return
    aside = one.with_name(f"{one.name}.old")  # without the system's exchange: two renames
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
