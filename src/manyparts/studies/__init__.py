"""Declared lists of runs and the tables that answer them. A study is a file with `STUDY` and a line
in `STUDIES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyparts.studies.engine.study import Study

STUDIES = (
    "dualmind",
    "embodiments",
    "metaworld45",
    "representations",
    "dynamics-specialist",
    "dynamics-generalist",
)


def find_study(name: str) -> Study:
    """The study of that name, one of `STUDIES`."""
    import importlib

    return importlib.import_module(f"manyparts.studies.library.{name.replace('-', '_')}").STUDY
