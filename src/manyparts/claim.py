"""A folder that one process at a time works in, begun with settings that must be the same when it is resumed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manyparts.types import UserError

_LOCK = ".lock"
_MANIFEST = "manifest.json"


@contextlib.contextmanager
def claim(folder: Path, manifest: Mapping[str, Any]) -> Iterator[None]:
    """Make the folder, or continue in it, and hold it until the block ends.

    manifest: plain JSON values that decide what the folder will hold. Raises UserError if the folder was begun with
    another manifest, or if another process holds it. If the block fails before it wrote anything, the folder goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / _LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder} is in use by another process") from None
        try:
            _require_same(folder, manifest)
            yield
        finally:
            if {path.name for path in folder.iterdir()} <= {_LOCK, _MANIFEST}:
                shutil.rmtree(folder)


def holds(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the folder was begun with this manifest."""
    path = folder / _MANIFEST
    return path.exists() and json.loads(path.read_text()) == _plain(manifest)


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


def _require_same(folder: Path, manifest: Mapping[str, Any]) -> None:
    path = folder / _MANIFEST
    if not path.exists():
        write_atomically(path, json.dumps(manifest, indent=1).encode())
    begun, asked = json.loads(path.read_text()), _plain(manifest)
    keys = sorted(key for key in begun.keys() | asked.keys() if begun.get(key) != asked.get(key))
    different = [f"{key}: {begun.get(key)}, {asked.get(key)}" for key in keys]
    if different:
        raise UserError(
            f"{folder} was begun with other settings ({'; '.join(different)}); "
            "use those to finish it, delete it, or choose another output"
        )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values))
