"""What goes wrong: errors and warnings that a user reads, and the names nearest to one that is
unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from manyparts.core.printing import printable

_SHOWN = 5


class UserError(ValueError):
    """Bad input by the user. The command line prints it in one line and exits with code 2.

    Names from files may stand in it, so that it shows control characters rather than to send them
    to a terminal.
    """

    def __init__(self, what: object = "") -> None:
        super().__init__(printable(what, keep="\n\t"))


class DatasetWarning(UserWarning):
    """Something lies in a dataset and is not read, or is read otherwise than one may think."""

    def __init__(self, what: object = "") -> None:
        super().__init__(printable(what, keep="\n\t"))


class SurroundingsWarning(UserWarning):
    """The machine, a folder or a package is not as usual, and something is done another way."""


def closest(name: str, choices: Iterable[str], *, command: str = "") -> str:
    """ "did you mean ...?" if something is near, then the choices, of many the five nearest.

    Args:
        name: what was asked for.
        choices: what there is.
        command: what lists them all, such as "manyparts list presets".
    """
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    if len(choices) <= _SHOWN:
        return f"{guess}choices: {', '.join(choices)}"
    nearest = difflib.get_close_matches(name, choices, n=_SHOWN, cutoff=0.0)
    every = f"; `{command}` shows all" if command else ""
    return f"{guess}the nearest of {len(choices)} choices: {', '.join(nearest)}{every}"
