"""Environments by name, "suite/task"; naming tasks needs no simulator."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from manyparts.core.arguments import explained, names_of
from manyparts.core.errors import UserError, closest
from manyparts.core.extras import in_a_line, install_command
from manyparts.core.plugins import Plugins, instance_of
from manyparts.core.printing import counted
from manyparts.core.provenance import version_of
from manyparts.envs.base import (
    WITHOUT_EXPERT,
    EnvConfig,
    Environment,
    Instructions,
    Split,
    Suite,
)
from manyparts.envs.gym.guess import guess
from manyparts.envs.gym.opening import PREFIX
from manyparts.envs.gym.suite import GymSuite, suite_by_id

_SHOWN_TASKS = 3  # in an error
_ID = re.compile(r"-v\d+$")  # what ids of Gymnasium end with

_registered: dict[str, Suite] = {}


def _own_names() -> list[str]:
    """The names of the suites of this package."""
    # A file with an underscore in its name, such as `walkers_models`, is a part of a suite.
    package = importlib.import_module("manyparts.envs.suites")
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [name for name in modules if "_" not in name]


def _checked(name: str, value: Any) -> Suite:
    """What a plug-in's entry point gave, if it is a suite that can be listed."""
    suite = instance_of(Suite)(name, value)
    for task in chain(suite.tasks, *suite.splits.values()):
        if not isinstance(suite.instructions.get(task), Instructions):
            raise TypeError(f"its task {task!r} has no instructions")
    return suite


PLUGINS = Plugins("suites", _own_names, _checked)
"""Suites of other distributions, entry points of the group `manyparts.suites`."""


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
        task: "suite/task", or "gym:[MODULE:]ID" for a Gymnasium environment by its id.
        config: an `EnvConfig`, or a mapping of its fields such as an agent's `environment`.
        split: the split that goals are drawn from.

    Raises:
        UserError: the suite, task, camera or split is unknown, or the suite's simulator or a
            renderer is missing.
    """
    config = EnvConfig.of(config)
    suite, name = suite_and_name(task)
    declared = suite_named(suite)
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
    env = _made(suite, declared, name, config, split)
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
        suite, name = suite_and_name(full)
        of_split = suite_named(suite).splits.get(name)
        tasks += [full] if of_split is None else [f"{suite}/{task}" for task in of_split]
    return list(dict.fromkeys(tasks))


def instructions(task: str) -> Instructions:
    """The instructions of a task.

    Raises:
        UserError: the task is unknown, or a split.
    """
    suite, name = suite_and_name(task)
    if name in suite_named(suite).splits:
        raise UserError(f"{task} is a split; name one of its tasks, which have their instructions")
    return suite_named(suite).instructions[name]


def has_own_instructions(task: str) -> bool:
    """Whether each episode of a task brings its own instruction.

    Raises:
        UserError: The task is unknown.
    """
    suite, name = suite_and_name(task)
    return name in suite_named(suite).own_instructions


def said_in(env: Environment) -> str:
    """The instruction of the episode that an environment is in: its own, or the task's."""
    return env.episode_instruction() or instructions(env.task).instruction


def instruction_of(env: Environment, seed: int) -> str:
    """The instruction of an episode: its own, or the task's.

    Args:
        env: The environment, in which the episode begins where it has its own.
        seed: The episode's.

    Raises:
        UserError: Each episode has its own, and none can be begun again.
    """
    if not has_own_instructions(env.task):
        return instructions(env.task).instruction
    if not env.reproduces:
        raise UserError(
            f"each episode of {env.task} brings its own instruction, and its seeds do not "
            "reproduce, so that no agent can be asked for it"
        )
    env.begin(seed)
    return said_in(env)


def steps_after_success(tasks: Sequence[str]) -> int:
    """The default number of steps to record after a demonstration's first success.

    Raises:
        UserError: the tasks belong to suites with different defaults.
    """
    suites = dict.fromkeys(suite_and_name(task)[0] for task in tasks)
    steps = {suite: suite_named(suite).steps_after_success for suite in suites}
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
        suite = suite_and_name(task)[0]
        if suite not in suites or suite_named(suite).many_embodiments:
            chosen.append(task)
        suites.add(suite)
    return chosen


def listed(suite: str) -> dict[str, str]:
    """The tasks of a suite with their instructions, and its splits with the number of their tasks.

    Raises:
        UserError: the suite is unknown.
    """
    declared = suite_named(suite)
    tasks = {f"{suite}/{name}": declared.instructions[name].instruction for name in declared.tasks}
    return tasks | {
        f"{suite}/{name}": counted(len(of_split), "task")
        for name, of_split in declared.splits.items()
    }


def register_suite(name: str, suite: Suite) -> None:
    """Add a suite under a name, for this process.

    Processes that act are others: they know the suites of this package and of plug-ins.

    Args:
        name: The suite's, of letters, digits and hyphens.
        suite: The suite.

    Raises:
        UserError: A suite has this name already, or it is no name.
    """
    if not name.replace("-", "").isalnum():
        raise UserError(f"suite is called {name!r}; expected letters, digits and hyphens")
    if name in suite_names():
        raise UserError(f"there is a suite {name!r} already; choose another name")
    _registered[name] = suite
    suite_names.cache_clear()


@cache
def suite_names() -> list[str]:
    """The names of all suites, sorted. Those of plug-ins may not load."""
    return sorted([*_own_names(), *PLUGINS.names(), *_registered])


def working_suites() -> list[str]:
    """The names of all suites without those of plug-ins that do not load; warnings name these."""
    working = PLUGINS.load_all()
    return [name for name in suite_names() if name in working or name not in PLUGINS.names()]


def suite_of(task: str) -> str:
    """The name of a task's suite. A task by an environment's id is a suite of its own.

    Args:
        task: "suite/task" or "gym:[MODULE:]ID".
    """
    return task if task.startswith(PREFIX) else task.partition("/")[0]


def is_known(suite: str) -> bool:
    """Whether there is a suite of this name; of a task by id, whether it may be one.

    Args:
        suite: The name, as `suite_of` returns it.
    """
    return suite.startswith(PREFIX) or suite in suite_names()


def suite_named(name: str) -> Suite:
    """The suite of a name.

    Raises:
        UserError: There is none, or it is a plug-in's that does not load.
    """
    if name.startswith(PREFIX):
        return suite_by_id(name)
    if name in _registered:
        return _registered[name]
    if name in PLUGINS.names():
        return PLUGINS.load(name)
    if name not in suite_names():
        raise UserError(f"unknown suite {name!r}; {closest(name, suite_names())}")
    return importlib.import_module(f"manyparts.envs.suites.{name}").SUITE


def require_expert(tasks: Sequence[str]) -> None:
    """Raise UserError for the first task that has no scripted expert."""
    for task in tasks:
        suite, name = suite_and_name(task)
        if name in suite_named(suite).without_expert:
            raise UserError(f"{task} has no expert; {WITHOUT_EXPERT}")


def versions(task: str) -> dict[str, str]:
    """Versions of a suite's simulator packages and of its plug-in, and its renderer, for
    provenance.

    Args:
        task: a task, or a suite's name.

    Raises:
        UserError: the suite's simulator or a renderer is missing.
    """
    suite = suite_of(task)
    _require_packages(suite)
    declared = suite_named(suite)
    facts = {package: version_of(package) for package in declared.packages}
    if origin := PLUGINS.origin(suite):
        facts["plugin"] = origin
    if suite.startswith(PREFIX):  # a later version may guess something else
        facts["declaration"] = guess(suite).facts
    return {**facts, "renderer": declared.renderer()}


def suite_and_name(task: str) -> tuple[str, str]:
    """The parts of "suite/task" or "suite/split", which must exist."""
    if not isinstance(task, str):
        raise UserError(f"task is {task!r}; expected a name, such as 'metaworld/reach'")
    if task.startswith(PREFIX):
        return task, task
    suite, _, name = task.partition("/")
    if suite not in suite_names():
        by_id = f"; or gym:{task} for a Gymnasium environment" if _ID.search(task) else ""
        raise UserError(f"unknown suite {suite!r} in {task!r}; {_suites_like(task)}{by_id}")
    listed_names = [*suite_named(suite).tasks, *suite_named(suite).splits]
    # A suite may have more tasks than it lists; the instructions know all of them.
    if name not in listed_names and name not in suite_named(suite).instructions:
        raise UserError(f"unknown task {task!r}; {_nearest(task, suite, listed_names)}")
    return suite, name


def _made(suite: str, declared: Suite, name: str, config: EnvConfig, split: Split) -> Environment:
    """The environment of a task. What is wrong with a plug-in's suite becomes one line."""
    if suite not in PLUGINS.names():
        return declared.make(name, config, split)
    try:
        env = declared.make(name, config, split)
        if env.task != f"{suite}/{name}":
            raise ValueError(f"its environment calls itself {env.task}")
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{PLUGINS.title(suite)} cannot make {suite}/{name} ({in_a_line(error)})"
        ) from error
    return env


def _require_packages(suite: str) -> None:
    declared = suite_named(suite)
    missing = [
        package for package in declared.packages if importlib.util.find_spec(package) is None
    ]
    if missing:
        advice = "install them first"
        if declared.extra:
            advice = f"{install_command(declared.extra)} (the extra {declared.extra})"
        raise UserError(f"{suite} needs {', '.join(missing)}: {advice}")


def _suites_like(task: str) -> str:
    """What a task of an unknown suite may mean, for an error message.

    Suites of other projects' environments come after this library's own.
    """
    suite, _, name = task.partition("/")
    # Plug-ins are not loaded for a name that may be none of theirs.
    known = [other for other in suite_names() if other not in PLUGINS.names()]
    own = [other for other in known if not isinstance(suite_named(other), GymSuite)]
    others = [other for other in known if other not in own]
    for names in (own, others) if not name else ():
        # A task without its suite.
        meant = [
            f"{other}/{task}"
            for other in names
            if task in suite_named(other).tasks or task in suite_named(other).splits
        ]
        if meant:
            return f"did you mean {' or '.join(meant[:_SHOWN_TASKS])}?"
    is_near = bool(difflib.get_close_matches(suite, [*others, *PLUGINS.names()], n=1))
    return closest(suite, suite_names() if is_near else own)


def _nearest(task: str, suite: str, names: Sequence[str]) -> str:
    """The names of a suite that are most like `task`, for an error message."""
    return closest(
        task, [f"{suite}/{each}" for each in names], command=f"manyparts list tasks {suite}/"
    )
