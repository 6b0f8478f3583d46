"""Optional packages: importing one, and the command that installs it.

This project is on no package index, so the command names the packages rather than the extra.
"""

from __future__ import annotations

import importlib
import re
import shlex
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import NAME

_SOURCES = Path(__file__).parents[3]  # where sources are that are not installed

# Modules of simulators by other projects, and the extra that installs each.
EXTRA_OF = {
    "gym_pusht": "pusht",
    "gym_aloha": "aloha",
    "gymnasium_robotics": "fetch",
    "minigrid": "minigrid",
    "panda_gym": "panda",
    "ogbench": "ogbench",
}


class PackageError(UserError):
    """A package is missing, or is installed and does not load."""


def load_package(name: str, needed_for: str, install: str) -> Any:
    """Import a module of an optional package.

    Args:
        name: The module's dotted name.
        needed_for: What needs it, as the error's first words.
        install: The command that installs it.

    Raises:
        PackageError: It is not installed, or its import fails.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except Exception as error:  # packages of versions that do not fit together raise anything
        if isinstance(error, ModuleNotFoundError) and error.name in (name, package):
            raise PackageError(f"{needed_for} needs {package}: {install}") from error
        raise PackageError(
            f"{needed_for} needs {package}, which is installed but does not load "
            f"({in_a_line(error)}); install it again: {install}"
        ) from error


def in_a_line(error: BaseException) -> str:
    """Return an error's class and the first line of its text."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # a stranger's class may fail at that, too
        lines = []
    return f"{type(error).__name__}: {(lines or ['no text'])[0]}"


def packages_of(extra: str) -> tuple[str, ...]:
    """Return the requirements of an extra of pyproject.toml, such as "miniworld==2.1.0".

    Raises:
        KeyError: There is no such extra.
    """
    requirements = [text.partition(";") for text in metadata.requires(NAME) or ()]
    of_extra = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    packages = tuple(
        requirement.strip() for requirement, _, marker in requirements if of_extra.search(marker)
    )
    if not packages:
        raise KeyError(extra)
    return packages


@cache
def install_command(extra: str) -> str:
    """Return the command that installs an extra's packages.

    Where what is installed does not know the extra, as with sources on Python's path, it is that
    which installs the sources with the extra.
    """
    try:
        return f"pip install {shlex.join(packages_of(extra))}"
    except (metadata.PackageNotFoundError, KeyError):
        return shlex.join(["pip", "install", "-e", f"{_SOURCES}[{extra}]"])
