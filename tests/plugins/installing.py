"""Distributions with plug-ins, written as an installer leaves them."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import manyparts
from manyparts.core import plugins
from manyparts.envs import registry
from manyparts.objectives import base

SOURCE = Path(manyparts.__file__).parents[1]


def pip_install(source: Path, folder: Path) -> Path:
    """Install a distribution of this repository below a folder, and return what goes on the path.

    It is built from a copy, since building leaves folders next to the source.
    """
    copy, target = folder / "source", folder / "site"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    options = ["--no-deps", "--no-build-isolation", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, str(copy)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def install(
    site: Path,
    distribution: str,
    points: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] | None = None,
    *,
    version: str = "1.0",
) -> None:
    """Put a distribution into a folder of the path.

    Args:
        site: The folder.
        distribution: Its name.
        points: Group, without "manyparts.", to name to "module:attribute".
        modules: Name to source of what it brings.
        version: Its version.
    """
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    lines = []
    for group, names in points.items():
        lines.append(f"[manyparts.{group}]")
        lines += [f"{name} = {value}" for name, value in names.items()]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, source in (modules or {}).items():
        (site / f"{name}.py").write_text(dedent(source))
    forget()


def forget() -> None:
    """Look for plug-ins again, as a new process does."""
    importlib.invalidate_caches()
    plugins.installed.cache_clear()
    registry.suite_names.cache_clear()
    for table in plugins._tables.values():
        vars(table).pop("_by_name", None)
        table._loaded.clear()
        table._left_out.clear()


def forget_modules(site: Path) -> None:
    """Take away what was imported from a folder of the path."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(site)):
            del sys.modules[name]
    for config, objective in list(base._DECLARED.items()):
        if objective.__module__ not in sys.modules:
            del base._DECLARED[config]


def manyparts_in_process(
    words: list[str], folder: Path, *, path: list[Path]
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own.

    Args:
        words: The command line, without the program.
        folder: Where it runs.
        path: Folders of the path, before the package's own.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, SOURCE]))}
    return subprocess.run(
        [sys.executable, "-m", "manyparts", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
