"""Errors and warnings that users read, and suggestions for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from manyparts.core.printing import printable

_MAX_CHOICES = 5  # that an error lists


class UserError(ValueError):
    """Bad input by the user. The command line prints it in one line and exits with code 2.

    The text may hold names from files, so control characters in it are escaped.
    """

    def __init__(self, text: object = "") -> None:
        super().__init__(printable(text, keep="\n\t"))


class DatasetWarning(UserWarning):
    """Something in a dataset is not read, or is read in another way than one may expect."""

    def __init__(self, text: object = "") -> None:
        super().__init__(printable(text, keep="\n\t"))


class EnvironmentWarning(UserWarning):
    """A simulation does not keep to what it declares, such as its spaces or its seeds."""

    def __init__(self, text: object = "") -> None:
        super().__init__(printable(text, keep="\n\t"))


class SurroundingsWarning(UserWarning):
    """The machine, a folder or a package is unusual, so that a fallback is used."""


def closest(name: str, choices: Iterable[str], *, command: str = "") -> str:
    """Suggest what a misspelt name may mean: "did you mean reach? choices: push, reach".

    Of more than five choices only the five nearest are listed.

    Args:
        name: The name that does not exist.
        choices: The names that exist.
        command: The command that lists them all, such as "manyparts list presets".
    """
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    if len(choices) <= _MAX_CHOICES:
        return f"{guess}choices: {', '.join(choices)}"
    nearest = difflib.get_close_matches(name, choices, n=_MAX_CHOICES, cutoff=0.0)
    every = f"; `{command}` shows all" if command else ""
    return f"{guess}the nearest of {len(choices)} choices: {', '.join(nearest)}{every}"
