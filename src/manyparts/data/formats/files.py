"""List the files below a folder, through symbolic links, and open parquet files of any name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from manyparts.core.errors import UserError

_MAX_DEPTH = 64


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, also through symbolic links, by their paths from this folder.

    A link to one of its own parent folders is not followed.

    Raises:
        UserError: for a folder that may not be read, or is nested more than 64 deep.
    """
    return _walk(folder, (os.path.realpath(folder),))


def open_parquet(file: Path, **options: Any) -> pq.ParquetFile:
    """Open a parquet file of any name; the options are those of `pyarrow.parquet.ParquetFile`."""
    # pyarrow takes "run:1/data" for a URL, hence the absolute path. It wants names in UTF-8, hence
    # an opened file where the name is not.
    name = os.path.abspath(file)
    return pq.ParquetFile(name if _is_unicode(name) else file.open("rb"), **options)


def arrow_path(file: Path) -> str:
    """The path of a file to be written, as pyarrow takes it.

    Raises:
        UserError: for a name that is not UTF-8.
    """
    name = os.path.abspath(file)
    if not _is_unicode(name):
        raise UserError(
            f"{file} has a name that is not UTF-8, and cannot be written; choose another folder"
        )
    return name


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(folder: Path, parents: tuple[str, ...]) -> Iterator[Path]:
    """parents: the real paths of the folder and of those above it, up to where the walk began."""
    if not folder.is_dir():
        return
    if len(parents) > _MAX_DEPTH:
        raise UserError(f"{folder} is nested more than {_MAX_DEPTH} folders deep")
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        path = folder / entry.name
        if not entry.is_symlink():
            if entry.is_file():
                yield path
            elif entry.is_dir():
                yield from _walk(path, (*parents, os.path.join(parents[-1], entry.name)))
        elif path.is_file():
            yield path
        elif path.is_dir() and (real := os.path.realpath(path)) not in parents:  # else a cycle
            yield from _walk(path, (*parents, real))
