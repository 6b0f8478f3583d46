"""`manyparts list`: what there is to choose from, by name."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tyro.conf import Positional

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError, closest


@dataclass(frozen=True)
class Options:
    """Print the names that other commands take, with a line on each."""

    kind: Positional[str]
    """What to list: presets, tasks, studies, methods, planners or benchmarks."""

    filter: Positional[str] = ""
    """Show only names that contain this text."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="list")
    if options.kind not in KINDS:
        raise UserError(f"unknown list {options.kind!r}; choices: {', '.join(KINDS)}")
    every = KINDS[options.kind]()
    shown = {name: what for name, what in every.items() if options.filter in name}
    if not shown:
        every_one = f"manyparts list {options.kind}"
        raise UserError(
            f"no name has {options.filter!r} in it; {closest(options.filter, every, command=every_one)}"
        )
    from manyparts.cli.console import print_table

    print_table([options.kind, "what it is"], [[name, what] for name, what in shown.items()])
    return 0


def presets() -> dict[str, str]:
    """Training configurations, by what their functions say of themselves."""
    from manyparts.methods import preset_function, preset_names

    made = {name: preset_function(name) for name in preset_names()}
    return {
        name: " ".join([_summary(make), *map("({})".format, arguments)])
        for name, (make, arguments) in made.items()
    }


def tasks() -> dict[str, str]:
    """Tasks by their instruction, and splits by how many tasks they have."""
    from manyparts.envs import registry

    return {
        name: what
        for suite in registry.suite_names()
        for name, what in registry.listed(suite).items()
    }


def studies() -> dict[str, str]:
    from manyparts.studies import STUDIES, find_study

    return {name: _first_sentence(find_study(name).description) for name in STUDIES}


def methods() -> dict[str, str]:
    from manyparts.methods import preset_names

    names = dict.fromkeys(name.partition("/")[0] for name in preset_names())
    modules = {name: "transformer_dynamics" if name == "dynamics" else name for name in names}
    return {
        name: _summary(importlib.import_module(f"manyparts.methods.{module}"))
        for name, module in modules.items()
    }


def planners() -> dict[str, str]:
    from manyparts.planners import PLANNERS

    return {name: _summary(inspect.getmodule(kind)) for name, kind in PLANNERS.items()}


def benchmarks() -> dict[str, str]:
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


def _of(arguments: Sequence[str]) -> str:
    return f"({', '.join(arguments)})" if arguments else ""


def _summary(documented: object) -> str:
    return _first_sentence(inspect.getdoc(documented) or "")


def _first_sentence(text: str) -> str:
    """Without its full stop."""
    return re.split(r"(?<!et al)\. ", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".")
