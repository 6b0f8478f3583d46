"""Agents in environments: the loop that runs one episode, collections of demonstrations, videos.

The package may be called as its main function is: `from manyparts import rollout` gives the package
once anything in it was imported, and `rollout(env, agent, ...)` has to work then, too.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """This package, which runs an episode when it is called; see `manyparts.rollout.loop`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from manyparts.rollout.loop import rollout

        return rollout(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
