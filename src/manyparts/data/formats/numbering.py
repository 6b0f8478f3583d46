"""Files and episodes with numbers in their names: their order, and the numbers that are missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from manyparts.core.printing import first_of

_MAX_SHOWN = 5
_DIGITS = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts names with numbers by these: "episode_9" comes before "episode_10"."""
    parts = _DIGITS.split(name)
    # Every second part is a number.
    return tuple((int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts))


def missing_numbers(numbers: Sequence[int], prefix: str) -> str:
    """The numbers that ascending numbers leave out from 0 or 1 on, such as "demo_3, demo_5 to
    demo_7"; "" if there are none.

    Args:
        numbers: those that exist.
        prefix: what stands before a number in a name.
    """
    first = 1 if numbers[0] == 1 else 0  # some count from 1
    missing = [
        f"{prefix}{before + 1}" + (f" to {prefix}{after - 1}" if after - before > 2 else "")
        for before, after in pairwise([first - 1, *numbers])
        if after - before > 1
    ]
    return first_of(missing, _MAX_SHOWN)
