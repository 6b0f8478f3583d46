"""The command that installs an optional part, by the names of its packages: this project itself is on no index."""

from __future__ import annotations

import re
import shlex
from importlib import metadata

from manyparts.naming import NAME


def packages_of(extra: str) -> tuple[str, ...]:
    """The requirements of an extra of pyproject.toml, such as "miniworld==2.1.0".

    Raises KeyError for an unknown extra.
    """
    marked = [text.partition(";") for text in metadata.requires(NAME) or ()]
    wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    packages = tuple(requirement.strip() for requirement, _, marker in marked if wanted.search(marker))
    if not packages:
        raise KeyError(extra)
    return packages


def install_command(extra: str) -> str:
    """What to type so that an extra's packages are there."""
    return f"pip install {shlex.join(packages_of(extra))}"
