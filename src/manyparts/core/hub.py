"""Datasets and agents of the Hugging Face Hub, by id and revision."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from manyparts.core.errors import UserError

Kind = Literal["dataset", "model"]
HUB = "hf://"
_LOCATION = re.compile(
    r"hf:/{1,2}(?:datasets/|models/)?(?P<id>[\w-][\w.-]*/[\w-][\w.-]*?)"
    r"(?:@(?P<revision>refs/[a-z]+/[\w.-]+|[^/]+))?(?:/(?P<inside>.+))?"
)


def is_hub(location: str | Path) -> bool:
    """Return whether a location is of the Hub. A path has lost one of its two slashes."""
    return str(location).startswith(("hf://", "hf:/"))


def shown(location: str | Path) -> str:
    """Return a location for an error, with both slashes of an address."""
    text = str(location)
    return HUB + text.partition(":/")[2].lstrip("/") if is_hub(text) else text


def fetch(location: str, kind: Kind = "dataset", *, files: Sequence[str] = ()) -> Path:
    """Download a dataset or an agent of the Hugging Face Hub into the Hub's own cache.

    Files that are in the cache are not fetched again. With HF_HUB_OFFLINE=1, or without a network,
    only the cache is read.

    Args:
        location: "hf://owner/name", "hf://owner/name@revision" or, for one file or folder of it,
            "hf://owner/name@revision/path". The revision is a branch, tag or commit; default main.
        kind: "dataset", or "model" for an agent.
        files: patterns of the files to fetch; empty: all.

    Returns:
        The local file or folder.

    Raises:
        UserError: if the id does not exist, may not be read, or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    location = shown(location)
    match = _LOCATION.fullmatch(location)
    if match is None or ".." in (match["inside"] or "").split("/"):
        raise UserError(
            f"{location!r} names no {kind} of the Hugging Face Hub; "
            "expected hf://owner/name@revision"
        )
    repository, revision = match["id"], match["revision"]
    inside = (match["inside"] or "").rstrip("/")
    patterns = [inside, f"{inside}/*"] if inside else list(files) or None
    try:
        folder = snapshot_download(
            repository, repo_type=kind, revision=revision, allow_patterns=patterns
        )
    except GatedRepoError as error:
        raise UserError(
            f"{location} is gated: accept its terms on its page, then type `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"the Hugging Face Hub has no {kind} {repository!r}; "
            "if it is private, type `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{repository} of the Hugging Face Hub has no revision {revision!r}"
        ) from error
    except Exception as error:  # its own errors, those of its transport and those of the disk
        raise UserError(
            f"{location} cannot be fetched and is not in the Hub's cache: {_line(error)}. "
            f"Without a network, give the folder that `hf download --repo-type {kind}` made "
            "elsewhere; HF_ENDPOINT names a mirror"
        ) from error
    path = Path(folder) / inside
    if not path.exists():
        raise UserError(f"{repository} of the Hugging Face Hub has no {inside!r}")
    return path


def _line(error: BaseException) -> str:
    """The first line of an error's text, or its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
