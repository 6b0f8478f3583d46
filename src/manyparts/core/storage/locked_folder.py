"""A folder that one process at a time works in, with the settings that it was started with.

Work that was killed continues in its folder, if its settings are still the same.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import names_of_today, value_of_before
from manyparts.core.printing import first_of, say
from manyparts.core.serialisation import flatten
from manyparts.core.storage.atomic import make_folder, write_atomically
from manyparts.core.storage.locks import LOCK, LOCK_FILES, hold

MANIFEST = "manifest.json"
_MAX_DIFFERENCES = 5  # that an error shows
_MAX_CHARACTERS = 40  # of a setting that an error shows
_HASH_CHARACTERS = 64
_SHOWN_HASH_CHARACTERS = 8  # enough to tell two hashes apart


@contextlib.contextmanager
def held_folder(folder: Path, *, what: str, is_empty: Callable[[], bool]) -> Iterator[None]:
    """Make a folder, and keep other processes out of it while the block runs.

    A folder that is removed takes those above it along that were made for it.

    Args:
        folder: The folder; it may exist.
        what: How an error names it.
        is_empty: Asked when the block ends, also by an error: whether the folder holds nothing that
            is worth keeping, so that it is removed.

    Raises:
        UserError: Another process holds the folder.
    """
    made = [parent for parent in folder.absolute().parents if not parent.exists()]
    make_folder(folder)
    with hold(folder / LOCK, what=what):
        try:
            yield
        finally:
            if is_empty():
                shutil.rmtree(folder)
                _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to one that holds something."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def locked_folder(
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    way_out: str = "finish it with those, delete it, or choose another output",
    resettable: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Make a folder for work with these settings, or continue in it, and hold it in the block.

    If nothing is written in the block, the folder is removed.

    Args:
        folder: The folder.
        manifest: The settings that decide what the folder will hold, as plain JSON values.
        way_out: What to do if the folder was started with other settings, for the error.
        resettable: Settings that may have changed, each with the sentence to print then: the folder
            is emptied, and the work starts again.

    Raises:
        UserError: The folder was started with other settings, or another process holds it.
    """

    def is_empty() -> bool:
        return {path.name for path in folder.iterdir()} <= {*LOCK_FILES, MANIFEST}

    with held_folder(folder, what=str(folder), is_empty=is_empty):
        _empty_if_outdated(folder, manifest, resettable or {})
        _require_same(folder, manifest, way_out)
        yield


def holds(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Return whether a folder was started with these settings.

    Args:
        folder: The folder; it may be missing.
        manifest: The settings, as `locked_folder` takes them.
    """
    path = folder / MANIFEST
    return path.exists() and not _different(flatten(_read(path)), flatten(_plain(manifest)))


def _empty_if_outdated(
    folder: Path, manifest: Mapping[str, Any], resettable: Mapping[str, str]
) -> None:
    """Empty a folder if its manifest differs in resettable settings alone, and say so."""
    path = folder / MANIFEST
    keys = _different(_read(path), _plain(manifest)) if path.exists() else []
    if not keys or not resettable.keys() >= set(keys):
        return
    say(f"{folder} is started again: {'; '.join(resettable[key] for key in keys)}", error=True)
    content = [item for item in folder.iterdir() if item.name not in {*LOCK_FILES, MANIFEST}]
    # The manifest goes last: without it, content that a kill left would count as of these settings.
    for item in [*content, path]:
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _require_same(folder: Path, manifest: Mapping[str, Any], way_out: str) -> None:
    path = folder / MANIFEST
    if not path.exists():
        write_atomically(path, json.dumps(manifest, indent=1).encode())
    before, now = flatten(_read(path)), flatten(_plain(manifest))
    different = [
        f"{key} was {_short(before.get(key))}, is {_short(now.get(key))}"
        for key in _different(before, now)
    ]
    if different:
        shown = first_of(different, _MAX_DIFFERENCES, separator="; ")
        raise UserError(f"{folder} was begun with other settings ({shown}); {way_out}")


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(
        key
        for key in before.keys() | now.keys()
        if before.get(key, value_of_before(key)) != now.get(key, value_of_before(key))
    )


def _short(value: Any) -> str:
    text = str(value)
    if len(text) == _HASH_CHARACTERS and text.isalnum():
        return text[:_SHOWN_HASH_CHARACTERS]
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


def _read(path: Path) -> dict[str, Any]:
    """Read a manifest, which an earlier version may have written under former names."""
    return names_of_today(json.loads(path.read_text()))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON gives them back, such as lists for tuples."""
    return json.loads(json.dumps(values))
