"""The folder of caches: where the user says, else in the home folder, else a temporary one."""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from pathlib import Path

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.naming import FORMER_NAME, NAME

# The first that is set decides.
CACHE_VARIABLES = (f"{NAME.upper()}_CACHE", f"{FORMER_NAME.upper()}_CACHE")
ADVICE = f"name a folder that you can write: export {CACHE_VARIABLES[0]}=FOLDER"


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Return the folder of caches: `cache_dir`, else $MANYPARTS_CACHE, else ~/.cache/manyparts.

    The variable and the folder of the project's former name are used if those of today are absent.
    If the home folder cannot be written, it is a temporary folder, and a warning says so. No other
    folder is made.

    Raises:
        UserError: There is no folder for caches.
    """
    chosen = cache_dir or chosen_root()
    if chosen is None:
        return _usual_root()
    try:
        return Path(chosen).expanduser()
    except RuntimeError:
        raise UserError(
            f"the cache folder {chosen} cannot be found: there is no home folder (HOME is unset)"
        ) from None


def chosen_root() -> str | None:
    """Return the value of the first cache variable that is set."""
    for variable in CACHE_VARIABLES:
        if folder := os.environ.get(variable):
            return folder
    return None


def can_write(path: Path) -> bool:
    """Return whether a folder can be written, or made if it does not exist. Writes nothing."""
    try:
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    except OSError:  # a folder above may not be entered
        return False


def cache_advice(path: Path) -> str:
    """Return what to do if `path`, which cannot be written, is a cache; else nothing."""
    return f"; {ADVICE}" if path.is_relative_to(cache_root()) else ""


def _usual_root() -> Path:
    try:
        caches = Path.home() / ".cache"
    except RuntimeError:  # no HOME, and no entry in the list of users, as in some containers
        return _temporary_root("there is no home folder")
    current, former = (caches / name for name in (NAME, FORMER_NAME))
    root = former if former.is_dir() and not current.exists() else current
    return root if can_write(root) else _temporary_root(f"{root} cannot be written")


def temporary_root() -> Path:
    """Return this user's own folder among the system's temporary ones, which is made.

    Raises:
        UserError: It cannot be made, or is another user's.
    """
    return _own_folder(f"{CACHE_VARIABLES[0]} is not set")


def _temporary_root(reason: str) -> Path:
    """Do as `temporary_root`, and warn."""
    root = _own_folder(reason)
    warnings.warn(
        f"caches go to {root}, since {reason}; to keep them, {ADVICE}",
        SurroundingsWarning,
        stacklevel=2,
    )
    return root


def _own_folder(reason: str) -> Path:
    try:
        root = Path(tempfile.gettempdir()) / f"{NAME}-cache-{os.getuid()}"
        root.mkdir(mode=0o700, exist_ok=True)
        status = root.lstat()
    except OSError as error:
        raise UserError(f"no folder for caches: {reason}, and {error}; {ADVICE}") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UserError(f"no folder for caches: {reason}, and {root} is another user's; {ADVICE}")
    return root
