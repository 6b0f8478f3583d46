"""Read HDF5 files in a separate process first, since a torn one can make libhdf5 hang or crash.

    python -m manyparts.data.formats.hdf5_probe FILE [FILE ...]

walks all groups and attributes of each file, reads all arrays of variable length, prints a NUL now
and then, a line "!" and the reason for a file that cannot be opened, and an empty line after each
file. Errors that libhdf5 raises further down are passed over: the reader gets them again, and loses
only one episode.
"""

from __future__ import annotations

import importlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.storage.locks import can_be_locked

_TIMEOUT_SECONDS = 10.0
_START_SECONDS = 120.0  # in which Python and h5py are there, also from a slow disk
_ROWS = 64  # read at once
_MAX_DEPTH = 8
_FILES = 256  # walked by one process
_ALIVE, _ALIVE_SECONDS = b"\0", 0.1  # what is printed while a file is walked


def probe(path: Path, *, seconds: float = _TIMEOUT_SECONDS) -> None:
    """Read a file in a separate process, to see whether libhdf5 survives it.

    Args:
        path: the HDF5 file.
        seconds: how long libhdf5 may make no progress.

    Raises:
        UserError: the file crashes libhdf5, or makes no progress for so long.
    """
    for why in faults_of([path], seconds=seconds).values():
        raise UserError(why)


def faults_of(paths: Sequence[Path], *, seconds: float = _TIMEOUT_SECONDS) -> dict[Path, str]:
    """Read files in a separate process, to see which of them libhdf5 survives.

    Args:
        paths: the HDF5 files.
        seconds: how long libhdf5 may make no progress.

    Returns:
        Those that crash libhdf5, that it makes no progress with, or that it cannot open, and why.
    """
    faults: dict[Path, str] = {}
    left = list(paths)
    while left:
        lines, why = _walk_all(left[:_FILES], seconds)
        walked = left[: len(lines)]
        for path, line in zip(walked, lines, strict=True):
            if line.startswith("!"):
                faults[path] = f"{path} cannot be read as HDF5: {line[1:]}"
        left = left[len(walked) :]
        if why:
            faults[left[0]] = f"{left[0]} cannot be read as HDF5: {why}"
            left = left[1:]
    return faults


def _walk_all(paths: Sequence[Path], seconds: float) -> tuple[list[str], str]:
    """Walk files in a process of its own.

    Returns:
        What it says of each file that it came through, and why it did not come through the next
        one; "" if there is no next one.
    """
    command = [sys.executable, "-m", __spec__.name, *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        pipe, stuck, begun, printed = process.stdout.fileno(), False, False, b""
        while not stuck:
            patience = seconds if begun else _START_SECONDS
            stuck = not select.select([pipe], [], [], patience)[0]
            if not stuck:
                block = os.read(pipe, 4096)
                if not block:
                    break
                begun = True
                printed += block.replace(_ALIVE, b"")
        if stuck:
            process.kill()
            if not begun:
                raise UserError(f"Python does not start: nothing came in {_START_SECONDS:g} s")
        errors = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    lines = printed.decode("utf-8", "replace").split("\n")[:-1][: len(paths)]
    if len(lines) == len(paths):
        return lines, ""
    if stuck:
        return lines, f"libhdf5 made no progress for {seconds:g} s"
    return lines, errors[-1] if errors else f"libhdf5 ended with signal {-process.returncode}"


class _Walk:
    """Visits all of a file, with h5py's low-level objects, which cost a fifth of the others."""

    def __init__(self) -> None:
        # Groups by their hashes, which stand for addresses in the file: open groups cost memory.
        self._visited: set[int] = set()
        self._last_sign = time.monotonic()

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
            self._show_life()
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
            self._show_life()
            try:
                array[row : row + _ROWS]
            except Exception:  # the rows after these may still hang
                continue

    def _show_life(self) -> None:
        if time.monotonic() - self._last_sign > _ALIVE_SECONDS:
            self._last_sign = time.monotonic()
            sys.stdout.write(_ALIVE.decode())
            sys.stdout.flush()


def _lengths_vary() -> tuple[int, ...]:
    """HDF5's type classes with values that may lie apart from the array, elsewhere in the file."""
    import h5py

    return (h5py.h5t.VLEN, h5py.h5t.STRING, h5py.h5t.COMPOUND, h5py.h5t.ARRAY, h5py.h5t.REFERENCE)


def _main(path: str) -> str:
    """Walk a file, and return why it cannot be opened; "" if it can."""
    import h5py

    try:
        with h5py.File(path, "r", locking=can_be_locked(Path(path))) as file:
            walk, root = _Walk(), file["/"].id
            walk.read_attributes(root)
            walk.visit(root)
    except Exception as error:  # whatever it is, the caller says it in one line
        return f"!{type(error).__name__}: {error}".splitlines()[0]
    return ""


if __name__ == "__main__":
    importlib.import_module("h5py")  # that it takes is no fault of a file
    sys.stdout.buffer.write(_ALIVE)
    sys.stdout.flush()
    for argument in sys.argv[1:]:
        print(_main(argument), flush=True)
