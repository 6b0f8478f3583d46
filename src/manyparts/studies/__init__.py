"""Studies: declared runs, and tables that answer what they ask.

A study is a module of `studies.library` with a `STUDY`, and a line in `STUDIES`. Plug-ins add
others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from manyparts.core.errors import UserError, closest
from manyparts.core.plugins import Plugins

if TYPE_CHECKING:
    from manyparts.studies.engine.study import Study

_LIST = "manyparts list studies"
STUDIES = (
    "dualmind",
    "dualmind-second-phase",
    "embodiments",
    "metaworld45",
    "representations",
    "dynamics-specialist",
    "dynamics-generalist",
    "planning-walkers",
    "vid2act",
    "planning-from-pixels",
    "new-embodiment",
)


def _checked(name: str, value: Any) -> Study:
    # Lists of names do without the engine, which loads torch.
    study = importlib.import_module("manyparts.studies.engine.study").Study
    if not isinstance(value, study):
        raise TypeError(f"it is of type {type(value).__name__}, not Study")
    if value.name != name:
        raise TypeError(f"it calls itself {value.name!r}")
    return value


PLUGINS = Plugins("studies", lambda: STUDIES, _checked)
"""Studies of other distributions, entry points of the group `manyparts.studies`."""


def study_names() -> list[str]:
    """Return the names of all studies. Those of plug-ins, which come last, may not load."""
    return [*STUDIES, *PLUGINS.names()]


def find_study(name: str) -> Study:
    """Return the study of that name, one of `study_names`.

    Raises:
        UserError: There is none, or it is a plug-in's that does not load.
    """
    if name in PLUGINS.names():
        return PLUGINS.load(name)
    if name not in STUDIES:
        raise UserError(f"unknown study {name!r}; {closest(name, study_names(), command=_LIST)}")
    return importlib.import_module(f"manyparts.studies.library.{name.replace('-', '_')}").STUDY
