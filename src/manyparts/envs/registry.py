"""Environments by name: "suite/task". A suite is a file in `suites/`; naming its tasks needs no
simulator."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any

from manyparts.core.arguments import explained, names_of
from manyparts.core.errors import UserError, closest
from manyparts.core.extras import install_command
from manyparts.envs.base import EnvConfig, Environment, Instructions, Split, Suite


@explained(
    config=EnvConfig, render_mode="env.render() returns a picture for people, whatever the config"
)
def make(
    task: str,
    config: EnvConfig | Mapping[str, Any] = EnvConfig(),  # noqa: B008, frozen
    *,
    split: Split = "train",
) -> Environment:
    """The environment of a task such as "metaworld/reach", with goals of one split of its goal
    space.

    config: also as a dict of its fields, such as an agent's `environment`. Its `render` gives
    pictures for people.

    UserError on an unknown suite, task, camera or split, and where the suite's simulator or a
    renderer is missing.
    """
    config = EnvConfig.of(config)
    suite, name = _find(task)
    declared = _suite(suite)
    if name in declared.splits:
        raise UserError(
            f"{task} is a split of {len(declared.splits[name])} tasks: name one of them, or expand it first"
        )
    if config.state == "shared" and not declared.shared_state:
        raise UserError(f"{suite} is no suite of many embodiments: state 'shared' is not for it")
    _require_packages(suite)
    return declared.make(name, config, split)


def expand(names: str | Sequence[str]) -> list[str]:
    """Tasks in order, without repeats; a split such as "metaworld/mt10" becomes its tasks. One may
    be plain text. UserError on an unknown."""
    tasks: list[str] = []
    for full in names_of(names, "tasks"):
        suite, name = _find(full)
        tasks += [f"{suite}/{task}" for task in _suite(suite).splits.get(name, (name,))]
    return list(dict.fromkeys(tasks))


def instructions(task: str) -> Instructions:
    """The instructions of a task. UserError on no such task."""
    suite, name = _find(task)
    if name in _suite(suite).splits:
        raise UserError(f"{task} is a split: each of its tasks has an instruction of its own")
    return _suite(suite).instructions[name]


def steps_after_success(tasks: Sequence[str]) -> int:
    """Steps to record after a demonstration's first solved one, where nobody says otherwise: what
    the tasks' suite has.

    UserError where they are of suites that differ in it.
    """
    steps = {
        suite: _suite(suite).steps_after_success for suite in (_find(task)[0] for task in tasks)
    }
    if len(set(steps.values())) != 1:
        raise UserError(f"steps after success differ by suite ({steps}); give one number for all")
    return next(iter(steps.values()))


def one_task_per_embodiment(tasks: Sequence[str]) -> list[str]:
    """Tasks in order, of which some show every body that there may be: all of a suite of many
    bodies, else one."""
    suites: set[str] = set()
    found = []
    for task in tasks:
        suite = _find(task)[0]
        if suite not in suites or _suite(suite).many_embodiments:
            found.append(task)
        suites.add(suite)
    return found


def listed(suite: str) -> dict[str, str]:
    """The tasks of a suite with their instructions, and its splits with the number of their tasks.
    UserError on an unknown suite."""
    declared = _suite(suite)
    tasks = {f"{suite}/{name}": declared.instructions[name].instruction for name in declared.tasks}
    return tasks | {
        f"{suite}/{name}": f"{len(of_split)} tasks" for name, of_split in declared.splits.items()
    }


@cache
def suite_names() -> list[str]:
    """The suites there are. A file whose name has an underscore is a part of one."""
    package = importlib.import_module("manyparts.envs.suites")
    return sorted(
        module.name for module in pkgutil.iter_modules(package.__path__) if "_" not in module.name
    )


def versions(task: str) -> dict[str, str]:
    """Versions of the simulator packages behind a task or suite, and what renders, for provenance.

    UserError where the suite's simulator or a renderer is missing.
    """
    suite = task.partition("/")[0]
    _require_packages(suite)
    declared = _suite(suite)
    packages = {package: metadata.version(package) for package in declared.packages}
    return {**packages, "renderer": declared.renderer()}


def _find(task: str) -> tuple[str, str]:
    if not isinstance(task, str):
        raise UserError(f"task is {task!r}; expected a name, such as 'metaworld/reach'")
    suite, _, name = task.partition("/")
    if suite not in suite_names():
        raise UserError(f"unknown suite {suite!r} in {task!r}; {closest(suite, suite_names())}")
    known = [*_suite(suite).tasks, *_suite(suite).splits]
    if (
        name not in known and name not in _suite(suite).instructions
    ):  # a suite may have more tasks than it lists
        raise UserError(f"unknown task {task!r}; {_nearest(task, suite, known)}")
    return suite, name


def _suite(name: str) -> Suite:
    if name not in suite_names():
        raise UserError(f"unknown suite {name!r}; {closest(name, suite_names())}")
    return importlib.import_module(f"manyparts.envs.suites.{name}").SUITE


def _require_packages(suite: str) -> None:
    declared = _suite(suite)
    missing = [
        package for package in declared.packages if importlib.util.find_spec(package) is None
    ]
    if missing:
        raise UserError(f"{suite} needs {', '.join(missing)}: {install_command(declared.extra)}")


def _nearest(task: str, suite: str, known: Sequence[str]) -> str:
    return closest(
        task, [f"{suite}/{each}" for each in known], command=f"manyparts list tasks {suite}/"
    )
