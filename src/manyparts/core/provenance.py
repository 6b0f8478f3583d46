"""Where a result comes from: the commit of the code, and versions of packages."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
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
    return source_hash(Path(__file__).parents[1])


def version_of(package: str) -> str:
    """Return the version of an installed package. Of code that may change without a new version,
    return a hash of its source files.

    That is a module that belongs to no distribution, or to one that is installed as editable.

    Args:
        package: A module's or a distribution's name.
    """
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return _source_of(package) or "unknown"
    if not _is_editable(distribution):
        return distribution.version
    return " ".join(filter(None, (distribution.version, _source_of(package))))


def _is_editable(distribution: metadata.Distribution) -> bool:
    try:
        installed = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(installed.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        return False


def _source_of(module: str) -> str:
    """The hash of a module's source files, "" if there are none."""
    try:
        spec = importlib.util.find_spec(module.replace("-", "_"))
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    for folder in spec.submodule_search_locations or ():
        return f"source {source_hash(Path(folder))}"
    file = Path(spec.origin or "")
    return f"source {file_hash(file)[:16]}" if file.is_file() else ""


def source_hash(home: Path) -> str:
    """Return a hash of the Python files below a folder, in 16 hexadecimal digits."""
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
