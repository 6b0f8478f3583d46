"""Read an HDF5 file in a separate process first, since a torn one can make libhdf5 hang or crash.

    python -m manyparts.data.formats.hdf5_probe FILE

walks all groups and attributes, reads all arrays of variable length, prints a dot now and then, and
exits with 0. Errors that libhdf5 raises are passed over: the reader gets them again, and loses only
one episode.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.storage.locks import can_be_locked

_TIMEOUT_SECONDS = 10.0
_ROWS = 64  # read at once
_MAX_DEPTH = 8
_DOT_SECONDS = 0.1


def probe(path: Path, *, seconds: float = _TIMEOUT_SECONDS) -> None:
    """Read a file in a separate process, to see whether libhdf5 survives it.

    Args:
        path: the HDF5 file.
        seconds: how long libhdf5 may make no progress.

    Raises:
        UserError: the file crashes libhdf5, or makes no progress for so long.
    """
    command = [sys.executable, "-m", __spec__.name, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        pipe, stuck = process.stdout.fileno(), False
        while not stuck:
            stuck = not select.select([pipe], [], [], seconds)[0]
            if not stuck and not os.read(pipe, 4096):
                break
        if stuck:
            process.kill()
        lines = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    if stuck:
        raise UserError(
            f"{path} cannot be read as HDF5: libhdf5 made no progress for {seconds:g} s"
        )
    if process.returncode:
        why = lines[-1] if lines else f"libhdf5 ended with signal {-process.returncode}"
        raise UserError(f"{path} cannot be read as HDF5: {why}")


class _Walk:
    """Visits all of a file, with h5py's low-level objects, which cost a fifth of the others."""

    def __init__(self) -> None:
        # Groups by their hashes, which stand for addresses in the file: open groups cost memory.
        self._visited: set[int] = set()
        self._last_dot = time.monotonic()

    def visit(self, node: Any, depth: int = 0) -> None:
        """Visit a group and all below it.

        Links are not followed: their targets inside the file are visited anyway.

        Args:
            node: the group, an `h5py.h5g.GroupID`.
            depth: how many groups it is below the file's root; too deep ones are passed over.
        """
        import h5py
        from h5py import h5l, h5o  # pyright: ignore

        if hash(node) in self._visited or depth > _MAX_DEPTH:
            return
        self._visited.add(hash(node))
        for name in list(node):
            self._dot()
            try:
                if node.links.get_info(name).type != h5l.TYPE_HARD:
                    continue
                child = h5o.open(node, name)
                self.read_attributes(child)
                if isinstance(child, h5py.h5g.GroupID):
                    self.visit(child, depth + 1)
                elif (
                    isinstance(child, h5py.h5d.DatasetID)
                    and child.get_type().get_class() in _lengths_vary()
                ):
                    self._read_rows(h5py.Dataset(child))
            except Exception:  # whatever h5py raises here it raises to the reader
                continue

    @staticmethod
    def read_attributes(node: Any) -> None:
        """Read all attributes of a group or an array."""
        import h5py

        if not h5py.h5a.get_num_attrs(node):
            return
        holder: Any = (
            h5py.Dataset(node) if isinstance(node, h5py.h5d.DatasetID) else h5py.Group(node)
        )
        for name in holder.attrs:
            try:
                holder.attrs[name]
            except Exception:  # an attribute that nobody asks for may be of any kind
                continue

    def _read_rows(self, array: Any) -> None:
        if not array.dtype.hasobject or array.is_virtual or array.external:
            return
        for row in range(0, len(array) if array.ndim else 0, _ROWS):
            self._dot()
            try:
                array[row : row + _ROWS]
            except Exception:  # the rows after these may still hang
                continue

    def _dot(self) -> None:
        if time.monotonic() - self._last_dot > _DOT_SECONDS:
            self._last_dot = time.monotonic()
            sys.stdout.write(".")
            sys.stdout.flush()


def _lengths_vary() -> tuple[int, ...]:
    """HDF5's type classes with values that may lie apart from the array, elsewhere in the file."""
    import h5py

    return (h5py.h5t.VLEN, h5py.h5t.STRING, h5py.h5t.COMPOUND, h5py.h5t.ARRAY, h5py.h5t.REFERENCE)


def _main(path: str) -> None:
    import h5py

    with h5py.File(path, "r", locking=can_be_locked(Path(path))) as file:
        walk, root = _Walk(), file["/"].id
        walk.read_attributes(root)
        walk.visit(root)


if __name__ == "__main__":
    try:
        _main(sys.argv[1])
    except Exception as error:  # whatever it is, the caller says it in one line
        sys.exit(f"{type(error).__name__}: {error}".splitlines()[0])
