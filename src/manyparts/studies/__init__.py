"""Studies: declared runs, and tables that answer what they ask.

A study is a module of `studies.library` with a `STUDY`, and a line in `STUDIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyparts.studies.engine.study import Study

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


def find_study(name: str) -> Study:
    """Return the study of that name, one of `STUDIES`."""
    import importlib

    return importlib.import_module(f"manyparts.studies.library.{name.replace('-', '_')}").STUDY
