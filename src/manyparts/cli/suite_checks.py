"""What `manyparts doctor --suite` prints: each task of a suite against what is declared of it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from manyparts.core.extras import EXTRA_OF
from manyparts.core.printing import counted, say

if TYPE_CHECKING:
    from manyparts.envs.gym.check import Finding

_MAX_TASKS = 8  # of a suite
# Packages of suites that the main job does without, and the extras that install them.
SIMULATORS = {
    "dm_control": "dmc",
    "mujoco": "walkers",
    "miniworld": "navigation",
    **EXTRA_OF,
    "gymnasium_robotics": "kitchen",
}


def check_suite(name: str, *, as_json: bool) -> int:
    """Check a suite's tasks, print a line for each check, and return the exit code.

    Args:
        name: A suite, a task, a split, or "gym:[MODULE:]ID".
        as_json: Print the checks as JSON instead.

    Raises:
        UserError: There is no such suite or task, or its packages are missing.
    """
    from manyparts.envs.gym.preflight import findings

    tasks, left = _tasks(name)
    checks: dict[str, list[Finding]] = {}
    for task in tasks:
        checks[task] = findings(task)
        if not as_json:
            _print(task, checks[task])
    failed = sum(len([each for each in found if not each.works]) for found in checks.values())
    if as_json:
        rows = {
            task: [dataclasses.asdict(each) for each in found] for task, found in checks.items()
        }
        print(json.dumps(rows, indent=2))
    else:
        rest = f"; {counted(left, 'more task')} not checked: name one" if left else ""
        verdict = f"{counted(failed, 'check')} failed" if failed else "all is as declared"
        say(f"{name}: {verdict}{rest}")
    return 1 if failed else 0


def _tasks(name: str) -> tuple[list[str], int]:
    """The tasks that a name means, the first of a large suite, and how many are left."""
    from manyparts.envs import registry

    if name in registry.suite_names():
        names = [f"{name}/{task}" for task in registry.suite_named(name).tasks]
    else:
        names = registry.expand([name])
    return names[:_MAX_TASKS], len(names[_MAX_TASKS:])


def _print(task: str, findings: list[Finding]) -> None:
    """A line for each check, whatever the terminal's width: one that fails is found by its word."""
    say(task)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        state = "ok   " if finding.works else "wrong"
        say(f"  {state}  {finding.name:{width}}  {' '.join(finding.detail.split())}")
