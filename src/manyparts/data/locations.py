"""Where datasets lie: a path, a dataset of the Hugging Face Hub, or the URL of an object store."""

from __future__ import annotations

import os
import re
from pathlib import Path

from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.data.formats.detect import open_reader
from manyparts.data.formats.errors import Complain, refuse
from manyparts.data.formats.reader import Reader

_HUB = "hf://"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]")


def short_name(location: str | Path) -> str:
    """What to call a file that is made of the dataset at a location: the name of its folder, file
    or repository."""
    text = str(location).rstrip("/")
    if text.startswith(_HUB):
        parts = text.removeprefix(_HUB).removeprefix("datasets/").split("/")
        name = parts[min(1, len(parts) - 1)].partition("@")[0]
    elif "://" in text:
        name = text.rpartition("/")[2]
    else:
        path = path_of(location, "dataset").resolve()
        name = path.stem if path.is_file() else path.name
    plain = "".join(letter if letter.isprintable() else "_" for letter in name)
    return plain.lstrip(".") or "dataset"


def open_location(location: str | Path, complain: Complain = refuse) -> Reader:
    """The reader of the dataset at a path, at "hf://owner/name@revision", or at a URL of fsspec's
    ("s3://bucket/set").

    A dataset of the Hub is fetched into the Hub's cache first; of one in a store its meta folder
    is, the rest when it is read. complain: see `open_reader`. Raises UserError if there is none
    that can be read.
    """
    if not isinstance(location, str | os.PathLike):
        raise UserError(
            f"a dataset is given as {type(location).__name__}; expected a path, or a URL as text"
        )
    text = str(location)
    if text.startswith(_HUB):
        from manyparts.data.hub import fetch

        return open_reader(fetch(text), complain)
    if "://" in text:
        from manyparts.data.formats.lerobot.remote import RemoteReader

        return RemoteReader(text, complain)
    path = path_of(location, "dataset")
    if not path.exists() and _URL.match(text):
        raise UserError(
            f"no dataset at {text}; a URL is given as text, not as a path, which loses a slash"
        )
    if not path.exists() and text.count("/") == 1 and not text.startswith((".", "~")):
        raise UserError(f"no dataset at {path}; for one of the Hugging Face Hub type {_HUB}{text}")
    return open_reader(path, complain)
