"""What a machine says of itself, and whether it fits the one that asks: the same code, packages and
files."""

from __future__ import annotations

import platform
import re
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import NAME, VERSION
from manyparts.core.provenance import code_hash, file_hash
from manyparts.core.storage.atomic import write_atomically

_FOR_DEVELOPERS = re.compile(r"""extra\s*==\s*['"](dev|docs)['"]""")


@contextmanager
def token_in(folder: Path) -> Iterator[Path]:
    """Yield a new file with random content, by which another machine shows that it sees the folder.

    Args:
        folder: The folder, which exists.
    """
    path = folder / f".shared-{secrets.token_hex(8)}"
    write_atomically(path, secrets.token_hex(16).encode())
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def described(token: str, inputs: Sequence[str]) -> dict[str, Any]:
    """Describe this machine, in JSON values.

    Args:
        token: Path of a file that it may see.
        inputs: Paths of files of which hashes are wanted.
    """
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "version": VERSION,
        "code": code_hash(),
        "packages": _versions(),
        "token": _hash(token),
        "inputs": {path: _hash(path) for path in inputs},
    }


def require_fitting(node: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Require that another machine can do this one's work, to the same bytes.

    Args:
        node: What to call it in an error.
        there: What it says of itself, see `described`.
        here: What this machine says of itself.

    Raises:
        UserError: It sees other files, or has other versions.
    """
    for key, name in (("python", "Python"), ("version", NAME)):
        if there[key] != here[key]:
            raise UserError(
                f"{node} has {name} {there[key]}, and this machine {here[key]}; install the same"
            )
    if there["code"] != here["code"]:
        raise UserError(
            f"{node} has other code of {NAME} {VERSION} ({there['code']}) than this machine "
            f"({here['code']}); install the same commit"
        )
    for name, version in here["packages"].items():
        other = there["packages"].get(name, version)
        if other != version:
            raise UserError(
                f"{node} has {name} {other}, and this machine {version}; install the same"
            )
    for path, content in here["inputs"].items():
        if there["inputs"].get(path) != content:
            problem = "does not see" if there["inputs"].get(path) is None else "has another"
            raise UserError(f"{node} {problem} {path}; put it on a disk that all nodes share")


def require_shared(
    node: str, there: Mapping[str, Any], here: Mapping[str, Any], folder: Path
) -> None:
    """Require that another machine sees a folder.

    Args:
        node: What to call it in an error.
        there: What it says of itself, see `described`.
        here: What this machine says of itself.
        folder: The folder of the token.

    Raises:
        UserError: It does not.
    """
    if there["token"] != here["token"]:
        raise UserError(
            f"{node} does not see {folder}; choose an --output on a disk that all nodes share "
            "under the same path"
        )


def _versions() -> dict[str, str]:
    """Return the versions of the packages that this one needs or can use, as far as they are
    installed."""
    names = {"torch", "numpy"}
    for requirement in _requirements():
        if not _FOR_DEVELOPERS.search(requirement):
            names.add(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _requirements() -> list[str]:
    try:
        return metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:  # sources without an installation
        return []


def _hash(path: str) -> str | None:
    try:
        return file_hash(Path(path))
    except OSError:
        return None
