"""`manyparts list`: presets, tasks and so on by name, each with a line that says what it is."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import say

if TYPE_CHECKING:
    from manyparts.core.plugins import Plugins


@dataclass(frozen=True)
class Options:
    """Print the names that other commands take, each with a line that says what it is."""

    kind: Positional[Annotated[str, arg(metavar="KIND")]]
    """What to list: presets, tasks, studies, methods, planners, plugins or benchmarks."""

    filter: Positional[Annotated[str, arg(metavar="TEXT")]] = ""
    """Show only names that contain this text, such as dualmind."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts list`, and return its exit code."""
    if not arguments:
        raise UserError(f"missing KIND, what to list; choices: {', '.join(KINDS)}")
    options = parse(Options, arguments, command="list")
    if options.kind not in KINDS:
        raise UserError(f"unknown list {options.kind!r}; choices: {', '.join(KINDS)}")
    every = KINDS[options.kind]()
    if options.kind == "plugins" and not every:
        say("No plug-in is installed here.")
        return 0
    shown = {name: what for name, what in every.items() if options.filter in name}
    if not shown:
        near = closest(options.filter, every, command=f"manyparts list {options.kind}")
        raise UserError(f"no name has {options.filter!r} in it; {near}")
    from manyparts.cli.console import print_table

    if options.kind == "presets":
        heads = [options.kind, "what it is", "parameters", "core hours", "score"]
        print_table(heads, [[name, *_measured(name)] for name in shown])
    else:
        print_table([options.kind, "what it is"], [[name, what] for name, what in shown.items()])
    return 0


def presets() -> dict[str, str]:
    """Training configurations, each with a sentence on what it trains."""
    from manyparts.methods import PLUGINS, describe, preset_names

    return {
        name: f"{describe(name).what.rstrip('.')}{_from(PLUGINS, name.partition('/')[0])}"
        for name in preset_names()
    }


def tasks() -> dict[str, str]:
    """Tasks with their instructions, and splits with the number of their tasks."""
    from manyparts.envs import registry

    rows = {}
    for suite in registry.working_suites():
        origin = _from(registry.PLUGINS, suite)
        rows |= {name: f"{what}{origin}" for name, what in registry.listed(suite).items()}
    return rows


def studies() -> dict[str, str]:
    """Studies, with the first sentence of their descriptions."""
    from manyparts.studies import PLUGINS, STUDIES, find_study

    return {
        name: f"{_first_sentence(find_study(name).description)}{_from(PLUGINS, name)}"
        for name in [*STUDIES, *PLUGINS.load_all()]
    }


def methods() -> dict[str, str]:
    """Methods, with the first sentence on the module of each."""
    from manyparts.methods import OWN_METHODS, PLUGINS

    modules = {name: "transformer_dynamics" if name == "dynamics" else name for name in OWN_METHODS}
    own = {
        name: _summary(importlib.import_module(f"manyparts.methods.{module}"))
        for name, module in sorted(modules.items())
    }
    return own | {
        name: f"{_first_sentence(method.what)}{_from(PLUGINS, name)}"
        for name, method in PLUGINS.load_all().items()
    }


def planners() -> dict[str, str]:
    """Planners, with the first sentence on the module of each."""
    from manyparts.planners import PLANNERS, PLUGINS

    rows = {name: _summary(inspect.getmodule(kind)) for name, kind in PLANNERS.items()}
    for name, planner in PLUGINS.load_all().items():
        rows[name] = f"{_summary(inspect.getmodule(planner.config))}{_from(PLUGINS, name)}"
    return rows


def plugins() -> dict[str, str]:
    """Plug-ins by group and name, with their distributions, versions and modules. None is
    loaded."""
    from manyparts.core.plugins import installed

    rows: dict[str, list[str]] = {}
    for plugin in installed():
        rows.setdefault(plugin.key, []).append(f"{plugin.origin}, {plugin.value}")
    return {key: " and ".join(origins) for key, origins in rows.items()}


def benchmarks() -> dict[str, str]:
    """Benchmarks, which only a clone has."""
    from manyparts.cli.bench import load_benchmarks

    return dict(load_benchmarks().BENCHMARKS)


KINDS: Mapping[str, Callable[[], dict[str, str]]] = {
    "presets": presets,
    "tasks": tasks,
    "studies": studies,
    "methods": methods,
    "planners": planners,
    "plugins": plugins,
    "benchmarks": benchmarks,
}


def _measured(preset: str) -> list[str]:
    """What a preset trains, and what was measured of it; empty where nothing was."""
    from manyparts.methods import PLUGINS, describe

    facts = describe(preset)
    what = f"{facts.what.rstrip('.')}{_from(PLUGINS, preset.partition('/')[0])}"
    parameters = "" if facts.parameters is None else f"{facts.parameters / 1e6:.2f} M"
    hours = "" if facts.hours is None else f"{facts.hours:g}"
    return [what, parameters, hours, facts.score or ""]


def _from(plugins: Plugins[Any], name: str) -> str:
    """Which plug-in a name is of, as the end of a row; empty for names of this package."""
    origin = plugins.origin(name)
    return "" if origin is None else f" [{origin}]"


def _summary(documented: object) -> str:
    return _first_sentence(inspect.getdoc(documented) or "")


def _first_sentence(text: str) -> str:
    """The first sentence of a text, without its full stop."""
    return re.split(r"(?<!et al)\. ", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".")
