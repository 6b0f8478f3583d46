"""Simulators that a worker process keeps open between its jobs: building one takes a second."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.registry import make, suite_of

MAX_OPEN = 3

_open: OrderedDict[tuple[str, EnvConfig, Split], Environment] = OrderedDict()


def settings_of(environments: Mapping[str, EnvConfig], task: str) -> EnvConfig:
    """The settings of a task's environment.

    Args:
        environments: By the names of tasks and of suites, of which a suite's is for all tasks that
            have none of their own.
        task: "suite/task".
    """
    return environments.get(task) or environments[suite_of(task)]


def environment(task: str, config: EnvConfig, split: Split) -> Environment:
    """Return the environment of a task, built on first use.

    The `MAX_OPEN` that were used last stay open, older ones are closed.

    Args:
        task: "suite/task".
        config: How the task is simulated and rendered.
        split: The split that goals are drawn from: "train", "validation" or "evaluation".

    Raises:
        UserError: See `envs.registry.make`.
    """
    key = (task, config, split)
    if key not in _open:
        while len(_open) >= MAX_OPEN:
            _open.popitem(last=False)[1].close()
        _open[key] = make(task, config, split=split)
    _open.move_to_end(key)
    return _open[key]
