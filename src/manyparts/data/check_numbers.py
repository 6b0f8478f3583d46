"""Numbers that mislead those who learn from them: single values far beyond the rest, and angles that jump."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from manyparts.data.bounds import FAR
from manyparts.data.findings import Finding

_ROWS = 50  # of fewer rows nothing is concluded
_SHOWN = 5
_TURN, _DEGREES = 2 * np.pi, 360.0
_NEARLY_ALL = 0.95  # of the steps are small, of what is an angle


@dataclass
class Outliers:
    """The max and min of each dimension and episode, gathered an episode at a time."""

    _seen: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)  # episode, rows (2, d), values (2, d)

    def add(self, episode: int, values: np.ndarray) -> None:
        """values: (T, d), finite."""
        rows = np.stack([values.argmin(axis=0), values.argmax(axis=0)])
        self._seen.append((episode, rows, np.take_along_axis(values, rows, axis=0)))

    def findings(
        self, central: tuple[np.ndarray, np.ndarray], count: int, names: Sequence[str], name_of: Callable[[int], str]
    ) -> Iterator[Finding]:
        """One for each row that sets a bound far from the rest.

        central: the min and max (d,) of the rest. count: of all rows. names: of the dimensions.
        name_of: what the dataset calls an episode.
        """
        low, high = central
        width = high - low
        far: dict[tuple[int, int], list[tuple[int, float]]] = {}
        for episode, rows, values in self._seen if count >= _ROWS else ():
            beyond = (width > 0) & ((values < low - FAR * width) | (values > high + FAR * width))
            for side, dimension in np.argwhere(beyond).tolist():
                far.setdefault((episode, int(rows[side, dimension])), []).append(
                    (dimension, float(values[side, dimension]))
                )
        for (episode, row), values in list(far.items())[:_SHOWN]:
            dimension, value = values[0]
            others = f", and so are {len(values) - 1} more dimensions" if len(values) > 1 else ""
            what = (
                f"row {row}: {names[dimension]} is {value:g}{others}; 99 % of its values lie between "
                f"{low[dimension]:g} and {high[dimension]:g}"
            )
            if len(far) > _SHOWN and (episode, row) == list(far)[_SHOWN - 1]:
                what += f"; and {len(far) - _SHOWN} rows more"
            remedy = "mend or leave out the row: it sets the bounds that all actions are scaled with"
            yield Finding("outliers", "warning", f"episode {name_of(episode)}", what, remedy)


@dataclass
class Jumps:
    """Where numbers jump though what they stand for does not, gathered an episode at a time."""

    _first: dict[tuple[str, tuple[int, ...], str], tuple[int, int]] = field(default_factory=dict)
    _count: dict[tuple[str, tuple[int, ...], str], int] = field(default_factory=dict)

    def add(self, feature: str, episode: int, values: np.ndarray) -> None:
        """values: (T, d) of a feature, finite."""
        taken: set[int] = set()
        for find in (_wrapping, _quaternions, _rotation_vectors):
            for dimensions, kind, rows in find(values):
                if taken.isdisjoint(dimensions):
                    taken |= set(dimensions)
                    key = (feature, dimensions, kind)
                    self._first.setdefault(key, (episode, int(rows[0])))
                    self._count[key] = self._count.get(key, 0) + len(rows)

    def findings(self, names: Callable[[str], Sequence[str]], name_of: Callable[[int], str]) -> Iterator[Finding]:
        """One for each angle. names: of a feature's dimensions. name_of: what the dataset calls an episode."""
        for key, (episode, row) in self._first.items():
            feature, dimensions, kind = key
            dimension_names = names(feature)
            which = " to ".join(dict.fromkeys(dimension_names[number] for number in (dimensions[0], dimensions[-1])))
            times = "once" if self._count[key] == 1 else f"{self._count[key]} times"
            what = f"{which} {kind} {times}, first in episode {name_of(episode)} from row {row} to {row + 1}"
            remedy = "write rotations without jumps: unwrapped, as sine and cosine, or as 6 numbers of the matrix"
            yield Finding("angles", "warning", feature, what, remedy)


_Jump = Iterator[tuple[tuple[int, ...], str, np.ndarray]]


def _wrapping(values: np.ndarray) -> _Jump:
    """Single angles in radians or degrees that leave their range on one side and come back on the other."""
    for period, unit in ((_TURN, "2 pi"), (_DEGREES, "360 degrees")):
        step = np.diff(values, axis=0)
        small = np.abs(step - period * np.round(step / period)) <= period / 8
        jump = np.abs(step) > 0.8 * period
        slack = 1e-3 * period
        low, high = values.min(axis=0), values.max(axis=0)
        inside = (low >= -period / 2 - slack) & (high <= period / 2 + slack) | (low >= -slack) & (
            high <= period + slack
        )
        angle = inside & jump.any(axis=0) & (small | ~jump).all(axis=0)
        angle &= small.mean(axis=0) >= _NEARLY_ALL if len(step) else False
        if period == _TURN:
            angle &= (values != np.round(values)).any(axis=0)  # whole numbers are choices
        for dimension in np.flatnonzero(angle).tolist():
            yield (dimension,), f"jumps by {unit}", np.flatnonzero(jump[:, dimension])


def _quaternions(values: np.ndarray) -> _Jump:
    """Four numbers of norm 1 that change their sign, which is the same rotation."""
    for first in range(values.shape[1] - 3):
        four = values[:, first : first + 4]
        if np.abs(np.linalg.norm(four, axis=1) - 1).max() > 1e-2 or (np.ptp(four, axis=0) > 1e-3).sum() < 2:
            continue
        product = (four[:-1] * four[1:]).sum(axis=1)
        flips = product < -0.9
        if flips.any() and (np.abs(product) > 0.9).mean() >= _NEARLY_ALL:
            yield tuple(range(first, first + 4)), "changes the sign of a quaternion", np.flatnonzero(flips)


def _rotation_vectors(values: np.ndarray) -> _Jump:
    """Three numbers of a norm of at most pi, axis times angle, that turn over where the angle passes pi."""
    for first in range(values.shape[1] - 2):
        three = values[:, first : first + 3]
        norm = np.linalg.norm(three, axis=1)
        if norm.max() > np.pi + 0.01:
            continue
        near = norm > np.pi - 0.5
        flips = near[:-1] & near[1:] & (np.linalg.norm(three[:-1] + three[1:], axis=1) < 0.5)
        if flips.any():
            yield tuple(range(first, first + 3)), "turns over by 2 pi", np.flatnonzero(flips)
