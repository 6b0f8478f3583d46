"""The rate of a dataset's rows, by their times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.printing import counted

_NEARLY_WHOLE = 0.005  # a rate so near to a whole number is meant to be one


def rate_of(stamps: Sequence[np.ndarray], names: Sequence[object]) -> tuple[float, list[str]]:
    """The rate of rows.

    Args:
        stamps: the times of each episode's rows in seconds, float64 (T,).
        names: the names of the episodes.

    Returns:
        Rows per second, and notes for users on rows that come at other times.

    Raises:
        UserError: no row comes after another one.
    """
    steps = [np.diff(each) for each in stamps]
    onward = [each[each > 0] for each in steps]
    together = np.concatenate(onward) if onward else np.zeros(0)
    if not len(together):
        raise UserError("no row has a later time than the one before")
    usual = float(np.median(together))
    rate = 1 / usual
    near = round(rate)
    rate = float(near) if near and abs(rate - near) < _NEARLY_WHOLE * near else round(rate, 3)
    uneven = [
        (episode, row, float(each[row]))
        for episode, each in enumerate(steps)
        for row in np.flatnonzero(np.abs(each - usual) > usual / 2)
    ]
    if not uneven:
        return rate, []
    episode, row, seconds = uneven[0]
    return rate, [
        f"{counted(len(uneven), 'row')} not {usual:g} s after the one before: the first is row "
        f"{row + 1} of episode {names[episode]}, after {seconds:g} s"
    ]
