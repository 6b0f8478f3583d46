"""Reads what a torn HDF5 file can make libhdf5 hang or crash on, in a process of its own.

    python -m manyparts.data.formats.hdf5_probe FILE

walks all groups and attributes, reads all arrays of variable length, writes a dot now and then, and ends with 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from manyparts.surroundings.locks import can_be_locked
from manyparts.types import UserError

_SECONDS, _ROWS = 10.0, 64


def probe(path: Path, *, seconds: float = _SECONDS) -> None:
    """Raises UserError if the file cannot be walked: libhdf5 raised, crashed, or came no further for `seconds`."""
    command = [sys.executable, "-m", __spec__.name, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        watch = _Watch(process, seconds)
        while os.read(process.stdout.fileno(), 4096):
            watch.alive()
        watch.stop()
        said = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    if watch.fired:
        raise UserError(f"{path} cannot be read as HDF5: libhdf5 came no further for {seconds:g} s")
    if process.returncode:
        why = said[-1] if said else f"libhdf5 ended with signal {-process.returncode}"
        raise UserError(f"{path} cannot be read as HDF5: {why}")


class _Watch:
    """Kills a process that shows no sign of life for some seconds."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process, self._seconds, self.fired = process, seconds, False
        self._timer = self._start()

    def alive(self) -> None:
        self._timer.cancel()
        self._timer = self._start()

    def stop(self) -> None:
        self._timer.cancel()

    def _start(self) -> threading.Timer:
        timer = threading.Timer(self._seconds, self._fire)
        timer.daemon = True
        timer.start()
        return timer

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()


def _walk(path: str) -> None:
    import h5py

    def visit(group: h5py.Group, depth: int) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink) or depth > 8:
                continue
            node = group[name]
            dict(node.attrs)
            if isinstance(node, h5py.Group):
                visit(node, depth + 1)
            elif isinstance(node, h5py.Dataset) and node.dtype.hasobject and not (node.is_virtual or node.external):
                for row in range(0, len(node) if node.ndim else 0, _ROWS):
                    node[row : row + _ROWS]
                    _dot()
            _dot()

    with h5py.File(path, "r", locking=can_be_locked(Path(path))) as file:
        dict(file.attrs)
        visit(file, 0)


def _dot() -> None:
    sys.stdout.write(".")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        _walk(sys.argv[1])
    except Exception as error:  # whatever it is, the caller tells it in one line
        sys.exit(f"{type(error).__name__}: {error}".splitlines()[0])
