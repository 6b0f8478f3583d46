"""A folder that one process at a time works in, begun with settings that must be the same when it
is resumed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.storage.atomic import write_atomically
from manyparts.core.storage.locks import LOCK, LOCK_FILES, hold

MANIFEST = "manifest.json"
_LONGEST = 40  # characters of a setting that an error shows
_HASH, _SHOWN = 64, 8  # characters of a hash, and those that tell it from another


@contextlib.contextmanager
def locked_folder(
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    way_out: str = "use those to finish it, delete it, or choose another output",
    resettable: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Make the folder, or continue in it, and hold it until the block ends.

    If the block fails before it wrote anything, the folder goes.

    Args:
        manifest: plain JSON values that decide what the folder will hold. way_out: what to do where
        the folder was begun with another manifest. anew: settings that may have changed, and what
        is said then: the folder is emptied, and begun anew.

    Raises:
        UserError: it was begun with another manifest, or another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / LOCK, what=str(folder)):
        try:
            _empty_if_outdated(folder, manifest, resettable or {})
            _require_same(folder, manifest, way_out)
            yield
        finally:
            if {path.name for path in folder.iterdir()} <= {*LOCK_FILES, MANIFEST}:
                shutil.rmtree(folder)


def holds(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the folder was begun with this manifest."""
    path = folder / MANIFEST
    return path.exists() and json.loads(path.read_text()) == _plain(manifest)


def _empty_if_outdated(
    folder: Path, manifest: Mapping[str, Any], resettable: Mapping[str, str]
) -> None:
    """Empty a folder whose manifest differs in settings of `anew` alone, and say so."""
    path = folder / MANIFEST
    keys = _different(json.loads(path.read_text()), _plain(manifest)) if path.exists() else []
    if not keys or not resettable.keys() >= set(keys):
        return
    say(f"{folder} is begun resettable: {'; '.join(resettable[key] for key in keys)}", error=True)
    inside = [each for each in folder.iterdir() if each.name not in {*LOCK_FILES, MANIFEST}]
    for each in [
        *inside,
        path,
    ]:  # the manifest last: without it, what is left would count as begun now
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()


def _require_same(folder: Path, manifest: Mapping[str, Any], way_out: str) -> None:
    path = folder / MANIFEST
    if not path.exists():
        write_atomically(path, json.dumps(manifest, indent=1).encode())
    begun, asked = json.loads(path.read_text()), _plain(manifest)
    different = [
        f"{key}: {_short(begun.get(key))}, {_short(asked.get(key))}"
        for key in _different(begun, asked)
    ]
    if different:
        raise UserError(
            f"{folder} was begun with other settings ({'; '.join(different)}); {way_out}"
        )


def _different(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in begun.keys() | asked.keys() if begun.get(key) != asked.get(key))


def _short(value: Any) -> str:
    text = str(value)
    if len(text) == _HASH and text.isalnum():
        return text[:_SHOWN]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values))
