"""Open a dataset by its location: a path, an id of the Hugging Face Hub, or a URL of a store."""

from __future__ import annotations

import os
import re
from pathlib import Path

from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.data.formats.errors import Complain, refuse
from manyparts.data.formats.options import split_options
from manyparts.data.formats.plugins import open_reader
from manyparts.data.formats.reader import Reader

_HUB = "hf://"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]")


def short_name(location: str | Path) -> str:
    """The name of a dataset's folder, file or repository, to name files that are made from it."""
    whole = split_options(str(location))[0]
    text = whole.rstrip("/")
    if text.startswith(_HUB):
        parts = text.removeprefix(_HUB).removeprefix("datasets/").split("/")
        name = parts[min(1, len(parts) - 1)].partition("@")[0]
    elif "://" in text:
        name = text.rpartition("/")[2]
    else:
        path = path_of(whole, "dataset").resolve()
        name = path.stem if path.is_file() else path.name
    plain = "".join(letter if letter.isprintable() else "_" for letter in name)
    return plain.lstrip(".") or "dataset"


def location_exists(location: str | Path) -> bool:
    """Whether there is a file or folder at a path, with or without options behind it."""
    path = path_of(location, "dataset")
    return path.exists() or Path(split_options(str(path))[0]).exists()


def open_location(location: str | Path, complain: Complain = refuse) -> Reader:
    """Open the reader of a dataset.

    A dataset of the Hub is fetched into the Hub's cache first. Of a dataset in an object store only
    its meta folder is fetched now, the other files when they are read.

    Args:
        location: a path, "hf://owner/name@revision", or a URL of fsspec's ("s3://bucket/set"). What
            its files do not say may stand behind it, see `ReadOptions`: "data/aloha@jpeg=rgb".
        complain: see `open_reader`.

    Raises:
        UserError: if there is no dataset that can be read.
    """
    if not isinstance(location, str | os.PathLike):
        raise UserError(
            f"the dataset is of type {type(location).__name__}; expected a path, or a URL as text"
        )
    if "://" in str(location):
        return _open_url(str(location), complain)
    path = path_of(location, "dataset")
    if path.exists():
        return open_reader(path, complain)
    text, options = split_options(str(path))
    path = Path(text)
    if not path.exists() and _URL.match(text):
        raise UserError(
            f"no dataset at {text}; pass a URL as text: a Path drops one of its slashes"
        )
    if not path.exists() and text.count("/") == 1 and not text.startswith((".", "~")):
        raise UserError(f"no dataset at {path}; for one of the Hugging Face Hub type {_HUB}{text}")
    return open_reader(path, complain, options)


def _open_url(location: str, complain: Complain) -> Reader:
    text, options = split_options(location)
    if text.startswith(_HUB):
        from manyparts.core.hub import fetch

        return open_reader(fetch(text), complain, options)
    if str(options):
        raise UserError(f"{text} is in a store, where options are not known; leave {options} out")
    from manyparts.data.formats.lerobot.remote import RemoteReader

    return RemoteReader(text, complain)
