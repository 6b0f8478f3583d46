"""Plug-ins for `manyparts doctor`: each is loaded in a process of its own, since it may end it."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys

from manyparts.cli.checks import Check
from manyparts.core.errors import UserError
from manyparts.core.host.processes import ending
from manyparts.core.plugins import Plugin, Plugins, installed

TABLES = {  # group to the module of its table
    "suites": "manyparts.envs.registry",
    "objectives": "manyparts.objectives.base",
    "methods": "manyparts.methods",
    "planners": "manyparts.planners",
    "formats": "manyparts.data.formats.plugins",
    "studies": "manyparts.studies",
    "trackers": "manyparts.training.trackers",
}
_SECONDS = 120  # in which a plug-in loads
_REFUSED = 3  # exit code of `load`


def check_plugins() -> list[Check]:
    """Load each plug-in that is installed. The main job needs none of them."""
    checks = []
    for plugin in installed():
        problem = _problem(plugin)
        detail = problem or f"{plugin.origin}, {plugin.value}"
        mend = f"pip uninstall {plugin.distribution}, or install another version" if problem else ""
        checks.append(Check(f"plug-in {plugin.key}", not problem, detail, False, mend))
    return checks


def load(group: str, name: str) -> None:
    """Load a plug-in, or print why it does not load and exit.

    Args:
        group: The plug-in's group.
        name: Its name.
    """
    table: Plugins[object] = importlib.import_module(TABLES[group]).PLUGINS
    try:
        table.load(name)
    except UserError as error:
        print(json.dumps(str(error)))
        sys.exit(_REFUSED)


def _problem(plugin: Plugin) -> str:
    """Why a plug-in does not load; empty if it does."""
    code = f"from {__name__} import load; load({plugin.group!r}, {plugin.name!r})"
    try:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"{plugin} does not load within {_SECONDS} s"
    if result.returncode == _REFUSED:  # or the plug-in itself ended so
        with contextlib.suppress(ValueError, IndexError):
            return str(json.loads(result.stdout.strip().splitlines()[-1]))
    if result.returncode:
        said = (result.stderr.strip().splitlines() or [ending(result.returncode)])[-1]
        return f"{plugin} does not load: {said}"
    return ""
