"""Where caches lie: where the user says, else in the home folder, else, where that cannot be
written, in a temporary folder."""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from pathlib import Path

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.naming import FORMER_NAME, NAME

CACHE_VARIABLES = (
    f"{NAME.upper()}_CACHE",
    f"{FORMER_NAME.upper()}_CACHE",
)  # the first that is set decides
ADVICE = f"name a folder that you can write: export {CACHE_VARIABLES[0]}=FOLDER"


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Where caches lie: `cache_dir`, else $MANYPARTS_CACHE, else ~/.cache/manyparts. Makes no
    folder of the user's.

    The variable and the folder of the project's former name serve where those of today are absent.
    Without a home folder that can be written it is a temporary folder, and a warning says so.

    Raises:
        UserError: there is no folder for caches.
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
    """The value of the first cache variable that is set."""
    return next(filter(None, map(os.environ.get, CACHE_VARIABLES)), None)


def can_write(path: Path) -> bool:
    """Whether a file could be written in the folder, or the folder be made. A look, without
    writing."""
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except OSError:  # a folder above may not be entered
        return False


def cache_advice(path: Path) -> str:
    """What to do where `path` cannot be written: for what lies among the caches, name another
    folder; else nothing."""
    return f"; {ADVICE}" if path.is_relative_to(cache_root()) else ""


def _usual_root() -> Path:
    try:
        caches = Path.home() / ".cache"
    except (
        RuntimeError
    ):  # no HOME, and a user without an entry in the list of users, as in containers
        return _temporary_root("there is no home folder")
    current, former = (caches / name for name in (NAME, FORMER_NAME))
    root = former if former.is_dir() and not current.exists() else current
    return root if can_write(root) else _temporary_root(f"{root} cannot be written")


def _temporary_root(reason: str) -> Path:
    """This user's own folder among the system's temporary ones."""
    try:
        root = Path(tempfile.gettempdir()) / f"{NAME}-cache-{os.getuid()}"
        root.mkdir(mode=0o700, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise UserError(f"no folder for caches: {reason}, and {error}; {ADVICE}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UserError(f"no folder for caches: {reason}, and {root} is another user's; {ADVICE}")
    warnings.warn(
        f"caches go to {root}, since {reason}; to keep them, {ADVICE}",
        SurroundingsWarning,
        stacklevel=2,
    )
    return root
