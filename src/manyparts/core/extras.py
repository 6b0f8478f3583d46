"""Optional packages: importing one, and the command that installs it. This project itself is on no
index, so that command names packages."""

from __future__ import annotations

import importlib
import re
import shlex
from importlib import metadata
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import NAME


class PackageError(UserError):
    """A package is missing, or it is installed and does not load."""


def load_package(name: str, needed_for: str, install: str) -> Any:
    """The module of that name.

    Args:
        needed_for: what needs it, as the error's first words.
        install: the command that installs it.

    Raises:
        PackageError: it is not installed, or raises something when it is imported. Packages of
        versions that do not
            fit together raise anything.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in (
            name,
            name.partition(".")[0],
        )
        if missing:
            raise PackageError(f"{needed_for} needs {name.partition('.')[0]}: {install}") from error
        raise PackageError(
            f"{needed_for} needs {name.partition('.')[0]}, which is installed but does not load "
            f"({in_a_line(error)}); install it again: {install}"
        ) from error


def in_a_line(error: BaseException) -> str:
    """An error's kind and the first line of its text."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no text'])[0]}"


def packages_of(extra: str) -> tuple[str, ...]:
    """The requirements of an extra of pyproject.toml, such as "miniworld==2.1.0".

    Raises KeyError for an unknown extra.
    """
    marked = [text.partition(";") for text in metadata.requires(NAME) or ()]
    wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    packages = tuple(
        requirement.strip() for requirement, _, marker in marked if wanted.search(marker)
    )
    if not packages:
        raise KeyError(extra)
    return packages


def install_command(extra: str) -> str:
    """What to type so that an extra's packages are there."""
    return f"pip install {shlex.join(packages_of(extra))}"
