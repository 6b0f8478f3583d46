"""A row of numbers as quantities: plain numbers, angles and rotations, and their differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Literal

import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.embodiment.views import rotations
from manyparts.embodiment.views.view import Convention, Unit, View

_TURN: Mapping[Unit, float] = {"radians": 2 * np.pi, "degrees": 360.0}


@dataclass(frozen=True)
class Part:
    """Numbers of a row that are one quantity."""

    kind: Literal["number", "angle", "rotation"]
    """What they are."""

    name: str
    """What to call it in messages, and what the names of its encoded numbers begin with."""

    indices: tuple[int, ...]
    """Where its numbers stand in the row."""

    unit: Unit = "radians"
    """Of an angle."""

    convention: Convention = "euler"
    """Of a rotation."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its encoded numbers."""
        if self.kind == "number":
            return (self.name,)
        if self.kind == "angle":
            return (f"{self.name}.cos", f"{self.name}.sin")
        return tuple(f"{self.name}.r{row}{column}" for column in (1, 2) for row in (1, 2, 3))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Its numbers (n, k) as those that a model sees (n, m)."""
        if self.kind == "number":
            return values
        if self.kind == "angle":
            turned = values * (2 * np.pi / _TURN[self.unit])
            return np.concatenate([np.cos(turned), np.sin(turned)], axis=-1)
        return rotations.six_numbers(rotations.matrices(values, self.convention))

    def decode(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `encode`: (n, m) to (n, k); angles are within half a turn of 0."""
        if self.kind == "number":
            return values
        if self.kind == "angle":
            angle = np.arctan2(values[:, 1:], values[:, :1])
            return angle * (_TURN[self.unit] / (2 * np.pi))
        return rotations.numbers(rotations.of_six_numbers(values), self.convention)

    def difference(self, target: np.ndarray, state: np.ndarray) -> np.ndarray:
        """What leads from a state (n, k) to a target (n, k): (n, 1), and (n, 6) of rotations.

        Of a rotation it is the one in the state's own frame; of an angle the short way round.
        """
        if self.kind == "number":
            return target - state
        if self.kind == "angle":
            return _wrapped(target - state, _TURN[self.unit])
        first = rotations.matrices(state, self.convention)
        second = rotations.matrices(target, self.convention)
        return rotations.six_numbers(first.inv() * second)

    def moved(self, state: np.ndarray, difference: np.ndarray) -> np.ndarray:
        """Where a difference leads from a state: the inverse of `difference`, but that an angle may
        be a turn further."""
        if self.kind != "rotation":
            return state + difference
        turned = rotations.matrices(state, self.convention) * rotations.of_six_numbers(difference)
        return rotations.numbers(turned, self.convention)

    def within(
        self, values: np.ndarray, low: np.ndarray, high: np.ndarray, *, measured: bool
    ) -> np.ndarray:
        """The same quantity (n, k) in the numbers that lie within bounds, or else nearest to them.

        An angle of -90 degrees is 270 for a robot with angles from 0 to 360, and a quaternion is
        the same rotation with all signs changed. What is still outside is clipped. Rotations are
        not clipped to bounds that are only those of the data, since they would be other rotations.

        Args:
            values: (n, k), as `decode` and `moved` return them.
            low: (k,).
            high: (k,).
            measured: Whether the bounds are the lowest and the highest recorded numbers.
        """
        if self.kind == "number":
            return np.clip(values, low, high)
        if self.kind == "angle":
            return np.clip(_turned_into(values, low, high, _TURN[self.unit]), low, high)
        same = rotations.same_rotations(values, self.convention)
        if self.convention == "euler":
            same = _turned_into(same, low, high, 2 * np.pi)
        best = np.argmin(np.abs(same - np.clip(same, low, high)).sum(axis=-1), axis=0)
        chosen = same[best, np.arange(len(values))]
        return chosen if measured else np.clip(chosen, low, high)

    def difference_names(self) -> tuple[str, ...]:
        """The names of the numbers of `difference`."""
        return self.names if self.kind == "rotation" else (self.name,)

    def require_sound(self, values: np.ndarray) -> None:
        """Raise UserError if its numbers (n, k) cannot be what it is."""
        if self.kind == "rotation":
            rotations.require_rotations(values, self.convention, self.name)
        if self.kind == "angle" and not np.isfinite(values).all():
            raise UserError(f"{self.name} has numbers that are not finite, which are no angle")


def selected(names: Sequence[str], patterns: Sequence[str], what: str) -> tuple[int, ...]:
    """The indices of the names that fit one of several patterns; all if there is no pattern.

    Args:
        names: Of the numbers of a row.
        patterns: In the style of a shell, such as arm_*.
        what: The field of the view, for the message.

    Raises:
        UserError: Nothing fits a pattern.
    """
    for pattern in patterns:
        require_fit(names, pattern, what)
    if not patterns:
        return tuple(range(len(names)))
    return tuple(
        index
        for index, name in enumerate(names)
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def require_fit(names: Sequence[str], pattern: str, what: str) -> None:
    """Raise UserError unless some name fits a pattern."""
    if not any(fnmatchcase(name, pattern) for name in names):
        known = closest(pattern, names) if names else "there are none"
        raise UserError(f"view.{what} is {pattern!r}, which fits no name; {known}")


def parts_of(names: Sequence[str], view: View) -> tuple[Part, ...]:
    """The parts of a row, in its order. Patterns come before what names tell.

    Args:
        names: Of its numbers.
        view: Says what are angles and rotations.

    Raises:
        UserError: A pattern fits too few or too many names, or names that are not together.
    """
    parts = dict(_rotations(names, view)) | dict(_angles(names, view))
    taken = [index for part in parts.values() for index in part.indices]
    if len(set(taken)) < len(taken):
        twice = next(names[index] for index in taken if taken.count(index) > 1)
        raise UserError(f"view makes {twice} part of two rotations or angles; expected one")
    numbers = {
        index: Part("number", name, (index,))
        for index, name in enumerate(names)
        if index not in taken
    }
    return tuple(part for _, part in sorted((parts | numbers).items()))


def _rotations(names: Sequence[str], view: View) -> Iterator[tuple[int, Part]]:
    """Each rotation by the index of its first number."""
    taken: set[int] = set()
    for pattern, convention in view.rotations.items():
        indices = tuple(i for i, name in enumerate(names) if fnmatchcase(name, pattern))
        if not indices:
            continue  # of the state or of the action alone
        count = rotations.NUMBERS[convention]
        if len(indices) != count or indices[-1] - indices[0] != count - 1:
            raise UserError(
                f"view.rotations {pattern!r} fits {len(indices)} numbers "
                f"({', '.join(names[i] for i in indices[:5])}); a rotation as {convention} is "
                f"{count} numbers next to each other"
            )
        taken |= set(indices)
        yield indices[0], Part("rotation", _stem(names, indices), indices, convention=convention)
    if not view.find_rotations:
        return
    for indices, convention in rotations.by_name(names):
        if not taken & set(indices):
            name = _stem(names, indices)
            yield indices[0], Part("rotation", name, indices, convention=convention)


def _angles(names: Sequence[str], view: View) -> Iterator[tuple[int, Part]]:
    """Each angle by its index."""
    for pattern, unit in view.angles.items():
        for index, name in enumerate(names):
            if fnmatchcase(name, pattern):
                yield index, Part("angle", name, (index,), unit=unit)


def _stem(names: Sequence[str], indices: Sequence[int]) -> str:
    """What the names of several numbers have in common at their beginning."""
    letters = zip(*(names[index] for index in indices), strict=False)
    common = "".join(each[0] for each in takewhile(lambda each: len(set(each)) == 1, letters))
    return common.rstrip("_./") or names[indices[0]]


def _turned_into(values: np.ndarray, low: np.ndarray, high: np.ndarray, turn: float) -> np.ndarray:
    """Angles (..., k) within bounds (k,) by whole turns, as few as possible; where there is no such
    angle, the one that is nearest to a bound."""
    finite_low = np.where(np.isfinite(low), low, values)
    finite_high = np.where(np.isfinite(high), high, values)
    upwards = values + np.ceil((finite_low - values) / turn).clip(0) * turn
    downwards = values - np.ceil((values - finite_high) / turn).clip(0) * turn
    turned = np.where(values < finite_low, upwards, downwards)
    # A turn beyond the other bound: stay on this side if that is nearer.
    back = np.where(values < finite_low, turned - turn, turned + turn)
    outside = [np.abs(each - np.clip(each, finite_low, finite_high)) for each in (turned, back)]
    return np.where(outside[1] < outside[0], back, turned)


def _wrapped(values: np.ndarray, turn: float) -> np.ndarray:
    """Angles within half a turn of 0."""
    return (values + turn / 2) % turn - turn / 2
