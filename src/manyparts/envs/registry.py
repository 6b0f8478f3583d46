"""Environments by name, "suite/task"; naming tasks needs no simulator."""

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
from manyparts.core.printing import counted
from manyparts.envs.base import EnvConfig, Environment, Instructions, Split, Suite

_SHOWN_TASKS = 3  # in an error


@explained(
    config=EnvConfig, render_mode="env.render() returns an image for people, whatever the config"
)
def make(
    task: str,
    config: EnvConfig | Mapping[str, Any] = EnvConfig(),  # noqa: B008, frozen
    *,
    split: Split = "train",
) -> Environment:
    """Make the environment of a task such as "metaworld/reach".

    Args:
        task: "suite/task".
        config: an `EnvConfig`, or a mapping of its fields such as an agent's `environment`.
        split: the split that goals are drawn from.

    Raises:
        UserError: the suite, task, camera or split is unknown, or the suite's simulator or a
            renderer is missing.
    """
    config = EnvConfig.of(config)
    suite, name = _suite_and_name(task)
    declared = _suite(suite)
    if name in declared.splits:
        raise UserError(
            f"{task} is a split of {len(declared.splits[name])} tasks; name one of them, or "
            "expand it first"
        )
    if config.state == "shared" and not declared.shared_state:
        raise UserError(
            f"state is 'shared', but {suite} has no layout of the state that all its embodiments "
            "share; choices: proprioception, full"
        )
    _require_packages(suite)
    env = declared.make(name, config, split)
    if config.action_repeat > 1:
        env.hold_actions(config.action_repeat)
    return env


def expand(names: str | Sequence[str]) -> list[str]:
    """Replace splits such as "metaworld/mt10" by their tasks.

    Args:
        names: tasks and splits, or a single name.

    Returns:
        Tasks in order, without repeats.

    Raises:
        UserError: a name is unknown.
    """
    tasks: list[str] = []
    for full in names_of(names, "tasks"):
        suite, name = _suite_and_name(full)
        tasks += [f"{suite}/{task}" for task in _suite(suite).splits.get(name, (name,))]
    return list(dict.fromkeys(tasks))


def instructions(task: str) -> Instructions:
    """The instructions of a task.

    Raises:
        UserError: the task is unknown, or a split.
    """
    suite, name = _suite_and_name(task)
    if name in _suite(suite).splits:
        raise UserError(f"{task} is a split; name one of its tasks, which have their instructions")
    return _suite(suite).instructions[name]


def steps_after_success(tasks: Sequence[str]) -> int:
    """The default number of steps to record after a demonstration's first success.

    Raises:
        UserError: the tasks belong to suites with different defaults.
    """
    suites = dict.fromkeys(_suite_and_name(task)[0] for task in tasks)
    steps = {suite: _suite(suite).steps_after_success for suite in suites}
    if len(set(steps.values())) != 1:
        raise UserError(f"steps after success differ by suite ({steps}); give one number for all")
    return next(iter(steps.values()))


def one_task_per_embodiment(tasks: Sequence[str]) -> list[str]:
    """Tasks, in order, that cover every embodiment.

    Of a suite with one embodiment this is the first task, of a suite with many it is every task.
    """
    suites: set[str] = set()
    chosen = []
    for task in tasks:
        suite = _suite_and_name(task)[0]
        if suite not in suites or _suite(suite).many_embodiments:
            chosen.append(task)
        suites.add(suite)
    return chosen


def listed(suite: str) -> dict[str, str]:
    """The tasks of a suite with their instructions, and its splits with the number of their tasks.

    Raises:
        UserError: the suite is unknown.
    """
    declared = _suite(suite)
    tasks = {f"{suite}/{name}": declared.instructions[name].instruction for name in declared.tasks}
    return tasks | {
        f"{suite}/{name}": counted(len(of_split), "task")
        for name, of_split in declared.splits.items()
    }


@cache
def suite_names() -> list[str]:
    """The names of all suites, sorted."""
    # A file with an underscore in its name, such as `walkers_models`, is a part of a suite.
    package = importlib.import_module("manyparts.envs.suites")
    return sorted(
        module.name for module in pkgutil.iter_modules(package.__path__) if "_" not in module.name
    )


def versions(task: str) -> dict[str, str]:
    """Versions of a suite's simulator packages, and its renderer, for provenance.

    Args:
        task: a task, or a suite's name.

    Raises:
        UserError: the suite's simulator or a renderer is missing.
    """
    suite = task.partition("/")[0]
    _require_packages(suite)
    declared = _suite(suite)
    packages = {package: metadata.version(package) for package in declared.packages}
    return {**packages, "renderer": declared.renderer()}


def _suite_and_name(task: str) -> tuple[str, str]:
    """The parts of "suite/task" or "suite/split", which must exist."""
    if not isinstance(task, str):
        raise UserError(f"task is {task!r}; expected a name, such as 'metaworld/reach'")
    suite, _, name = task.partition("/")
    if suite not in suite_names():
        raise UserError(f"unknown suite {suite!r} in {task!r}; {_suites_like(task)}")
    listed_names = [*_suite(suite).tasks, *_suite(suite).splits]
    # A suite may have more tasks than it lists; the instructions know all of them.
    if name not in listed_names and name not in _suite(suite).instructions:
        raise UserError(f"unknown task {task!r}; {_nearest(task, suite, listed_names)}")
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


def _suites_like(task: str) -> str:
    """What a task of an unknown suite may mean, for an error message."""
    suite, _, name = task.partition("/")
    if not name:
        # A task without its suite.
        meant = [
            f"{other}/{task}"
            for other in suite_names()
            if task in _suite(other).tasks or task in _suite(other).splits
        ]
        if meant:
            return f"did you mean {' or '.join(meant[:_SHOWN_TASKS])}?"
    return closest(suite, suite_names())


def _nearest(task: str, suite: str, names: Sequence[str]) -> str:
    """The names of a suite that are most like `task`, for an error message."""
    return closest(
        task, [f"{suite}/{each}" for each in names], command=f"manyparts list tasks {suite}/"
    )
