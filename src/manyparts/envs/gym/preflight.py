"""What is said and checked of a task before agents act in it, and what the doctor says of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from manyparts.core.errors import EnvironmentWarning, UserError
from manyparts.core.printing import say
from manyparts.envs import registry
from manyparts.envs.base import Environment
from manyparts.envs.gym.check import SEEDS, Finding, check
from manyparts.envs.gym.environment import GymEnvironment
from manyparts.envs.gym.guess import guess
from manyparts.envs.gym.opening import PREFIX, open_environment
from manyparts.envs.gym.suite import GymSuite
from manyparts.envs.gym.task import GymTask

# What goes wrong there, an evaluation survives; all else would end it later.
_SURVIVED = ("seeds", "steps", "spaces", "horizon")

# Tasks of which this process has said what was guessed.
_said: set[str] = set()


def preflight(tasks: Sequence[str], max_steps: int | None = None) -> None:
    """Say once what was guessed of tasks that are named by id, and check them.

    Seeds that do not reproduce and spaces that lie are warnings.

    Args:
        tasks: Names of tasks; those of suites are known, and are not checked.
        max_steps: How long a user wants episodes to be; None: as long as they are.

    Raises:
        UserError: An environment is not as it has to be, or ends its episodes earlier; the message
            names it.
    """
    for name in tasks:
        if max_steps is not None:
            _require_steps(name, max_steps)
        if not isinstance(name, str) or not name.startswith(PREFIX):
            continue
        if name not in _said:
            say(guess(name))
            _said.add(name)
        for finding in findings(name, seeds=SEEDS[:2]):
            if finding.works and not finding.notable:
                continue
            text = f"{name}: {finding.detail}"
            if not finding.works and finding.name not in _SURVIVED:
                raise UserError(text)
            warnings.warn(EnvironmentWarning(text), stacklevel=2)


def _require_steps(name: str, max_steps: int) -> None:
    """Raise UserError if the environment of a declared task ends its episodes before so many."""
    suite, task = registry.suite_and_name(name)
    declared = registry.suite_named(suite)
    if not isinstance(declared, GymSuite):
        return
    record = declared.declared[task]
    with closing(open_environment(record)) as env:
        limits = [record.kwargs.get("max_steps"), env.spec and env.spec.max_episode_steps]
    for limit in limits:
        if isinstance(limit, int) and limit < max_steps:
            raise UserError(
                f"max_steps is {max_steps}, and episodes of {name} end after {limit} steps; choose "
                f"fewer, or declare it with kwargs={{'max_episode_steps': {max_steps}}}"
            )


def findings(task: str, *, seeds: Sequence[int] = SEEDS) -> list[Finding]:
    """Check a task's environment.

    Args:
        task: "suite/task", or "gym:[MODULE:]ID".
        seeds: The episodes of these begin twice.

    Raises:
        UserError: There is no such task, or its environment cannot be made.
    """
    registry.versions(task)  # its packages are there
    suite, name = registry.suite_and_name(task)
    declared = registry.suite_named(suite)
    if isinstance(declared, GymSuite):
        record = declared.declared[name]
        with closing(open_environment(record)) as env:
            return check(env, record, seeds=seeds)
    with closing(registry.make(task)) as env:
        return check(env, _as_declared(env), seeds=seeds)


def _as_declared(env: Environment) -> GymTask:
    """What this library's own environments promise, as a declaration."""
    assert not isinstance(env, GymEnvironment), env
    instruction = registry.instructions(env.task).instruction
    record = GymTask(id=env.task, instruction=instruction, state=("state",))
    return replace(
        record,
        cameras={name: f"images/{name}" for name in env.embodiment_spec.cameras},
        success="info:success" if env.knows_success else None,
        max_steps=env.horizon,
        action=env.embodiment_spec.action,
    )
