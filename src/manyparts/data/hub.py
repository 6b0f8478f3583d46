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
    """The local folder, in the Hub's own cache, of "hf://owner/name", "hf://owner/name@revision" or
    a file or folder in it, "hf://owner/name@revision/inside". revision: a branch, tag or commit, by
    default main.

    What is there already is not fetched again; with HF_HUB_OFFLINE=1, or without a network, it is
    all that can be had. Raises UserError for an id that does not exist or may not be read, and
    where the network is closed.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named = _LOCATION.fullmatch(location)
    if named is None or ".." in (named["inside"] or "").split("/"):
        raise UserError(
            f"{location!r} names no dataset of the Hugging Face Hub; expected hf://owner/name@revision"
        )
    inside = (named["inside"] or "").rstrip("/")
    wanted = [inside, f"{inside}/*"] if inside else None
    revision = named["revision"]
    try:
        folder = snapshot_download(
            named["id"], repo_type="dataset", revision=revision, allow_patterns=wanted
        )
    except GatedRepoError as error:
        raise UserError(
            f"{location} asks for consent: give it on its page, then type `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"the Hugging Face Hub has no dataset {named['id']!r}, or it is private: then type `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{named['id']} of the Hugging Face Hub has no revision {revision!r}"
        ) from error
    except Exception as error:  # its own errors, those of its transport and those of the disk
        raise UserError(
            f"{location} cannot be fetched and is not in the Hub's cache: {one_line(error)}. Where the network is "
            "closed, give the folder that `hf download --repo-type dataset` made elsewhere; HF_ENDPOINT names a mirror"
        ) from error
    path = Path(folder) / inside
    if not path.exists():
        raise UserError(f"{named['id']} of the Hugging Face Hub has no {inside!r}")
    return path
