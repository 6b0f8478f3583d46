"""Datasets of the Hugging Face Hub, by id and revision."""

from __future__ import annotations

import re
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import one_line

_LOCATION = re.compile(
    r"hf://(?:datasets/)?(?P<id>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/]+))?(?:/(?P<inside>.+))?"
)


def fetch(location: str) -> Path:
    """Download a dataset of the Hugging Face Hub into the Hub's own cache.

    Files that are in the cache are not fetched again. With HF_HUB_OFFLINE=1, or without a network,
    only the cache is read.

    Args:
        location: "hf://owner/name", "hf://owner/name@revision" or, for one file or folder of it,
            "hf://owner/name@revision/path". The revision is a branch, tag or commit; default main.

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

    match = _LOCATION.fullmatch(location)
    if match is None or ".." in (match["inside"] or "").split("/"):
        raise UserError(
            f"{location!r} names no dataset of the Hugging Face Hub; "
            "expected hf://owner/name@revision"
        )
    repository, revision = match["id"], match["revision"]
    inside = (match["inside"] or "").rstrip("/")
    patterns = [inside, f"{inside}/*"] if inside else None
    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=patterns
        )
    except GatedRepoError as error:
        raise UserError(
            f"{location} is gated: accept its terms on its page, then type `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"the Hugging Face Hub has no dataset {repository!r}; "
            "if it is private, type `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{repository} of the Hugging Face Hub has no revision {revision!r}"
        ) from error
    except Exception as error:  # its own errors, those of its transport and those of the disk
        raise UserError(
            f"{location} cannot be fetched and is not in the Hub's cache: {one_line(error)}. "
            "Without a network, give the folder that `hf download --repo-type dataset` made "
            "elsewhere; HF_ENDPOINT names a mirror"
        ) from error
    path = Path(folder) / inside
    if not path.exists():
        raise UserError(f"{repository} of the Hugging Face Hub has no {inside!r}")
    return path
