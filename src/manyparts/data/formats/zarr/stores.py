"""The files of a zarr store, in a folder or in a zip: bounded reads by key, nothing is unpacked."""

from __future__ import annotations

import json
import lzma
import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Any, Protocol

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import one_line
from manyparts.data.formats.files import files_below

METADATA = (".zarray", "zarr.json")
_GROUPS = (".zgroup", ".zattrs", ".zmetadata")
_MAX_BYTES = 2**30  # of one file
_MAX_FOLDERS, _MAX_DEPTH = 10_000, 8  # that are searched for arrays
_TORN = (
    OSError,
    RuntimeError,  # a password is needed
    NotImplementedError,  # a compression that zipfile does not know
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)


class Store(Protocol):
    """Files by key, such as "data/action/0.0"."""

    path: Path
    """The folder, or the zip."""

    def read(self, key: str) -> bytes | None:
        """A file's content; None if there is no such file. Raises UserError if it is torn."""
        ...

    def count_chunks(self, name: str) -> int:
        """How many chunks of an array are stored."""
        ...

    def metadata_keys(self) -> list[str]:
        """The keys of the files that describe arrays and groups of version 3, and arrays of
        version 2."""
        ...

    def files(self) -> Sequence[Path]:
        """The files on disk that hold the store's content."""
        ...


def open_store(path: Path) -> Store:
    """Open a zarr store. Raises UserError if a zip is torn."""
    return FolderStore(path) if path.is_dir() else ZipStore(path)


def is_store(path: Path) -> bool:
    """Whether a folder or a zip is a zarr store, by the names in it."""
    if path.is_dir():
        return any((path / name).is_file() for name in (*METADATA, *_GROUPS))
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _TORN:
        return False
    return any(name.rpartition("/")[2] in (*METADATA, *_GROUPS) for name in names)


class FolderStore:
    """A store in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, key: str) -> bytes | None:
        file = self.path / key
        try:
            if not file.is_file():
                return None
            _require_small(file, file.stat().st_size)
            return file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from error

    def count_chunks(self, name: str) -> int:
        return sum(_is_chunk(file.name) for file in files_below(self.path / name))

    def metadata_keys(self) -> list[str]:
        keys: list[str] = []
        folders = [""]
        for depth in range(_MAX_DEPTH):
            below: list[str] = []
            for folder in folders:
                described = [name for name in METADATA if (self.path / folder / name).is_file()]
                keys += [folder + name for name in described]
                # The folder of an array holds its chunks, perhaps a million of them.
                if not self._is_array(folder, described):
                    below += [f"{folder}{name}/" for name in self._folders(folder)]
            _require_few(self.path, len(below) + len(keys))
            folders = below
            if not folders:
                break
            if depth == _MAX_DEPTH - 1:
                raise UserError(f"{self.path} is nested more than {_MAX_DEPTH} groups deep")
        return keys

    def files(self) -> Sequence[Path]:
        return list(files_below(self.path))

    def _is_array(self, folder: str, described: Sequence[str]) -> bool:
        if "zarr.json" not in described:
            return ".zarray" in described
        try:
            values = json.loads(self.read(f"{folder}zarr.json") or b"")
        except (ValueError, RecursionError):
            return True  # torn, which is said when it is parsed
        return isinstance(values, dict) and values.get("node_type") == "array"

    def _folders(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.path / folder) as listed:
                return sorted(entry.name for entry in listed if entry.is_dir())
        except OSError as error:
            raise UserError(f"{self.path / folder} cannot be read: {error.strerror}") from error


class ZipStore:
    """A store in a zip, perhaps below a folder in it. It can be pickled to another process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = ""
        self._archive: zipfile.ZipFile | None = None
        self._chunks: Counter[str] | None = None  # by array
        self._root = _root_of(self._opened().namelist())

    def read(self, key: str) -> bytes | None:
        name = self._root + key
        try:
            info = self._opened().getinfo(name)
        except KeyError:
            return None
        where = f"{self.path}: {name}"
        _require_small(where, info.file_size)
        try:
            return self._opened().read(info)
        except _TORN as error:
            raise UserError(f"{where} cannot be read: {one_line(error)}") from error

    def count_chunks(self, name: str) -> int:
        if self._chunks is None:
            arrays = {self._root + key.rpartition("/")[0] for key in self.metadata_keys()}
            self._chunks = Counter(
                array
                for file in self._opened().NameToInfo
                if (array := _nearest(file, arrays)) and _is_chunk(file.rpartition("/")[2])
            )
        return self._chunks[self._root + name]

    def metadata_keys(self) -> list[str]:
        names = self._opened().namelist()
        keys = [name for name in names if name.rpartition("/")[2] in METADATA]
        keys = [key.removeprefix(self._root) for key in keys if key.startswith(self._root)]
        _require_few(self.path, len(keys))
        return list(dict.fromkeys(keys))  # a file that was written twice is listed twice

    def files(self) -> Sequence[Path]:
        return [self.path]

    def _opened(self) -> zipfile.ZipFile:
        # Threads may read at the same time: zipfile locks the file.
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self.path)
            except _TORN as error:
                raise UserError(f"{self.path} is a torn archive: {one_line(error)}") from error
        return self._archive

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_archive": None, "_chunks": None}


def _root_of(names: Iterable[str]) -> str:
    """The folder of a zip in which the store lies, with a slash at its end; "" for the zip's own
    root."""
    described = [name for name in names if name.rpartition("/")[2] in (*METADATA, *_GROUPS)]
    shortest = min(described, key=lambda name: name.count("/"), default="")
    return shortest[: shortest.rfind("/") + 1]


def _is_chunk(name: str) -> bool:
    """Whether a file of an array is a chunk, by its name."""
    return not name.startswith(".") and name not in ("", "zarr.json")


def _nearest(file: str, arrays: Set[str]) -> str:
    """The folder of an array that a file of a zip lies in, directly or further down; "" if none."""
    folder = file.rpartition("/")[0]
    while folder and folder not in arrays:
        folder = folder.rpartition("/")[0]
    return folder


def _require_small(where: object, size: int) -> None:
    if size > _MAX_BYTES:
        raise UserError(f"{where} has {size} bytes; at most {_MAX_BYTES} are read")


def _require_few(path: Path, count: int) -> None:
    if count > _MAX_FOLDERS:
        raise UserError(f"{path} has more than {_MAX_FOLDERS} arrays and groups")
