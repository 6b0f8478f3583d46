"""Where datasets lie: a path, a dataset of the Hugging Face Hub, or the URL of an object store."""

from __future__ import annotations

from pathlib import Path

from manyparts.data.formats.detect import open_reader
from manyparts.data.formats.errors import Complain, refuse
from manyparts.data.formats.reader import Reader
from manyparts.types import UserError

_HUB = "hf://"


def open_location(location: str | Path, complain: Complain = refuse) -> Reader:
    """The reader of the dataset at a path, at "hf://owner/name@revision", or at a URL of fsspec's ("s3://bucket/set").

    A dataset of the Hub is fetched into the Hub's cache first; of one in a store its meta folder is, the rest when it
    is read. complain: see `open_reader`. Raises UserError if there is none that can be read.
    """
    text = str(location)
    if text.startswith(_HUB):
        from manyparts.data.hub import fetch

        return open_reader(fetch(text), complain)
    if "://" in text:
        from manyparts.data.formats.lerobot.remote import RemoteReader

        return RemoteReader(text, complain)
    path = Path(location)
    if not path.exists() and text.count("/") == 1 and not text.startswith((".", "~")):
        raise UserError(f"no dataset at {path}; for one of the Hugging Face Hub type {_HUB}{text}")
    return open_reader(path, complain)
