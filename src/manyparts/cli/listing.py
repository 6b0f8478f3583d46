"""`manyparts list`: presets, tasks and so on by name, each with a line that says what it is."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError, closest


@dataclass(frozen=True)
class Options:
    """Print the names that other commands take, each with a line that says what it is."""

    kind: Positional[Annotated[str, arg(metavar="KIND")]]
    """What to list: presets, tasks, studies, methods, planners or benchmarks."""

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
    from manyparts.methods import describe, preset_names

    return {name: describe(name).what.rstrip(".") for name in preset_names()}


def tasks() -> dict[str, str]:
    """Tasks with their instructions, and splits with the number of their tasks."""
    from manyparts.envs import registry

    rows = {}
    for suite in registry.suite_names():
        rows |= registry.listed(suite)
    return rows


def studies() -> dict[str, str]:
    """Studies, with the first sentence of their descriptions."""
    from manyparts.studies import STUDIES, find_study

    return {name: _first_sentence(find_study(name).description) for name in STUDIES}


def methods() -> dict[str, str]:
    """Methods, with the first sentence on the module of each."""
    from manyparts.methods import preset_names

    names = dict.fromkeys(name.partition("/")[0] for name in preset_names())
    modules = {name: "transformer_dynamics" if name == "dynamics" else name for name in names}
    return {
        name: _summary(importlib.import_module(f"manyparts.methods.{module}"))
        for name, module in modules.items()
    }


def planners() -> dict[str, str]:
    """Planners, with the first sentence on the module of each."""
    from manyparts.planners import PLANNERS

    return {name: _summary(inspect.getmodule(kind)) for name, kind in PLANNERS.items()}


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
    "benchmarks": benchmarks,
}


def _measured(preset: str) -> list[str]:
    """What a preset trains, and what was measured of it; empty where nothing was."""
    from manyparts.methods import describe

    facts = describe(preset)
    parameters = "" if facts.parameters is None else f"{facts.parameters / 1e6:.2f} M"
    hours = "" if facts.hours is None else f"{facts.hours:g}"
    return [facts.what.rstrip("."), parameters, hours, facts.score or ""]


def _summary(documented: object) -> str:
    return _first_sentence(inspect.getdoc(documented) or "")


def _first_sentence(text: str) -> str:
    """The first sentence of a text, without its full stop."""
    return re.split(r"(?<!et al)\. ", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".")
