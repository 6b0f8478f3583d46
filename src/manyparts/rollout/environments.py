"""The simulators a worker process keeps open between its jobs: building one takes about a
second."""

from __future__ import annotations

from collections import OrderedDict

from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.registry import make

KEPT = 3

_open: OrderedDict[tuple[str, EnvConfig, Split], Environment] = OrderedDict()


def environment(task: str, config: EnvConfig, split: Split) -> Environment:
    """The environment for a task, built on first use. The last `KEPT` stay open, older ones are
    closed."""
    key = (task, config, split)
    if key not in _open:
        while len(_open) >= KEPT:
            _open.popitem(last=False)[1].close()
        _open[key] = make(task, config, split=split)
    _open.move_to_end(key)
    return _open[key]
