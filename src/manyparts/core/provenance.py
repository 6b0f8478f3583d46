"""Where a result comes from: the commit of the code, and versions of packages."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from manyparts.core.naming import NAME

_command_line: list[str] | None = None
PACKAGES = (NAME, "torch", "numpy", "gymnasium")


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: metadata.version(name) for name in packages}


def code_commit() -> str | None:
    """Return the git commit that this package runs from; None outside a checkout.

    "+changes" follows if files of the package differ from the commit.
    """
    home = Path(__file__).parents[1]
    try:
        _git(home, "ls-files", "--error-unmatch", "core/provenance.py")
        commit = _git(home, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(home, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def code_hash() -> str:
    """Return a hash of this package's source files, in 16 hexadecimal digits."""
    home = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(f"{path.relative_to(home).as_posix()}\0{file_hash(path)}\n".encode())
    return digest.hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def running_command(words: Sequence[str]) -> Iterator[None]:
    """While the block runs, `command_line` is these words. The command line's front says so."""
    global _command_line
    before, _command_line = _command_line, list(words)
    try:
        yield
    finally:
        _command_line = before


def command_line() -> list[str] | None:
    """The command that this process runs, "manyparts" first; None where a Python program calls
    us."""
    return _command_line
