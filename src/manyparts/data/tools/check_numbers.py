"""Numbers that mislead those who learn from them: single values far beyond the rest, and angles
that jump."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from manyparts.core.columns import STATE
from manyparts.data.tools.findings import Finding
from manyparts.data.tools.outliers import OutlierRows

_SHOWN = 5
_TURN, _DEGREES = 2 * np.pi, 360.0
_NEARLY_ALL = 0.95  # of the steps are small, of what is an angle
_NEAR = 3  # rows before and after a jump, whose steps it is compared with
_STEPS = 4.0  # times what is usual of these: so far apart is what a jump joins
_MOST = 0.25  # of the jumps of an episode join what lies so near, at least
_ROUNDING = 1e-3  # of a turn
_TOUCHING = 0.01  # of a turn: so near lie -pi and pi on both sides of a jump, whatever the steps beside it are
_LARGEST = 1.25  # turns that a difference of a wrapped angle may be
_FEWEST_VALUES = 4  # of an angle: two or three are those of a switch
_UNWRAPPED = (
    "write rotations without jumps: unwrapped, as sine and cosine, or as 6 numbers of the matrix"
)
_TURNS = ((_TURN, "2 pi"), (_DEGREES, "360 degrees"))


def outlier_findings(
    feature: str,
    rows: Sequence[OutlierRows],
    names: Sequence[str],
    name_of: Callable[[int], str],
    *,
    bounding: bool,
) -> Iterator[Finding]:
    """One for each run of rows that lies far from the rest.

    Args:
        feature: the column's name.
        names: of its dimensions.
        name_of: what the dataset calls an episode.
        bounding: whether they set the bounds of the actions.
    """
    harm = (
        "it sets the bounds that all actions are scaled with"
        if bounding
        else "it is learned as if it had happened"
    )
    harm = "it sets the mean and std that states are scaled with" if feature == STATE else harm
    for number, far in enumerate(rows[:_SHOWN], start=1):
        dimension, (value, low, high) = next(iter(far.numbers.items()))
        which = f"row {far.first}" if far.first == far.last else f"rows {far.first} to {far.last}"
        others = (
            f", and so are {len(far.numbers) - 1} more dimensions" if len(far.numbers) > 1 else ""
        )
        what = f"{which}: {names[dimension]} is {value:g}{others}; its other values lie between {low:g} and {high:g}"
        if number == _SHOWN < len(rows):
            what += f"; and {len(rows) - _SHOWN} places more"
        remedy = f"mend or leave out the row: {harm}"
        yield Finding(
            "outliers", "warning", f"episode {name_of(far.episode)}, {feature}", what, remedy
        )


@dataclass
class Jumps:
    """Where numbers jump though what they stand for does not, gathered an episode at a time."""

    _first: dict[tuple[str, tuple[int, ...], str], tuple[int, int]] = field(default_factory=dict)
    _count: dict[tuple[str, tuple[int, ...], str], int] = field(default_factory=dict)
    _denied: set[tuple[str, tuple[int, ...], str]] = field(default_factory=set)

    def add(self, feature: str, episode: int, values: np.ndarray) -> None:
        """values: (T, d) of a feature, finite."""
        taken: set[int] = set()
        for find in (_wrapping, _wrapped_differences, _quaternions, _rotation_vectors):
            for dimensions, kind, rows in find(values):
                key = (feature, dimensions, kind)
                if not len(rows):
                    self._denied.add(key)
                elif taken.isdisjoint(dimensions):
                    taken |= set(dimensions)
                    self._first.setdefault(key, (episode, int(rows[0])))
                    self._count[key] = self._count.get(key, 0) + len(rows)

    def explained(self, feature: str) -> dict[int, float]:
        """Dimensions that are differences of an angle that jumps, and how large they are at
        most."""
        return {
            dimensions[0]: _LARGEST * period
            for (period, _), kind in zip(_TURNS, _DIFFERENCES, strict=True)
            for name, dimensions, found in self._first
            if name == feature and found == kind and self._holds((name, dimensions, found))
        }

    def _holds(self, key: tuple[str, tuple[int, ...], str]) -> bool:
        """Whether nothing speaks against it; of a single number nobody can say whether it is a
        difference of angles."""
        return key not in self._denied and (key[2] not in _DIFFERENCES or self._count[key] > 1)

    def findings(
        self, names: Callable[[str], Sequence[str]], name_of: Callable[[int], str]
    ) -> Iterator[Finding]:
        """One for each angle. names: of a feature's dimensions. name_of: what the dataset calls an
        episode."""
        for key, (episode, row) in self._first.items():
            feature, dimensions, kind = key
            if not self._holds(key):
                continue
            dimension_names = names(feature)
            which = " to ".join(
                dict.fromkeys(dimension_names[number] for number in (dimensions[0], dimensions[-1]))
            )
            times = "once" if self._count[key] == 1 else f"{self._count[key]} times"
            place = f"in row {row}" if kind in _DIFFERENCES else f"from row {row} to {row + 1}"
            what = f"{which} {kind} {times}, first in episode {name_of(episode)} {place}"
            remedy = "take differences of unwrapped angles" if kind in _DIFFERENCES else _UNWRAPPED
            yield Finding("angles", "warning", feature, what, remedy)


# Dimensions, what they do, and in which rows; no rows: in no episode do they do that, since they
# are something else.
_Jump = Iterator[tuple[tuple[int, ...], str, np.ndarray]]
_NO_ROWS = np.zeros(0, np.int64)


_DIFFERENCES = tuple(f"holds differences of an angle that jumps by {unit}:" for _, unit in _TURNS)


def _wrapping(values: np.ndarray) -> _Jump:
    """Single angles in radians or degrees that leave their range on one side and come back on the
    other."""
    steps = np.diff(values, axis=0)
    for period, unit in _TURNS:
        slack = _ROUNDING * period
        low, high = values.min(axis=0), values.max(axis=0)
        inside = (low >= -period / 2 - slack) & (high <= period / 2 + slack) | (low >= -slack) & (
            high <= period + slack
        )
        for dimension in np.flatnonzero(~inside).tolist():
            yield (dimension,), f"jumps by {unit}", _NO_ROWS
        for dimension in np.flatnonzero(inside & (np.abs(steps) > period / 2).any(axis=0)).tolist():
            gap = (
                1 - (high - low)[dimension] / period
            )  # a switch may be of a whole turn, and exactly that
            touching = 1e-6 < gap <= _TOUCHING
            if touching or not _is_switch(values[:, dimension], whole=period == _TURN):
                rows = _joining(
                    steps[:, dimension, None], np.abs(steps[:, dimension]) > period / 2, period
                )
                yield (dimension,), f"jumps by {unit}", rows


def _joining(
    steps: np.ndarray, jumps: np.ndarray, period: float, joined: np.ndarray | None = None
) -> np.ndarray:
    """The rows (n,) of jumps that join what lies near, if many do and the steps between them are
    small.

    steps: (T, d). jumps: bool (T,). joined: (T,), how far apart is what a jump joins; of angles
    this follows from the steps.
    """
    turned = np.abs(steps - period * np.round(steps / period)).max(axis=1)
    apart = turned if joined is None else joined
    sizes = np.linalg.norm(steps, axis=1)
    if (np.where(jumps, apart, sizes) <= period / 4).mean() < _NEARLY_ALL:
        return _NO_ROWS
    near = np.zeros(len(jumps), bool)
    for row in np.flatnonzero(jumps).tolist():
        about = slice(max(0, row - _NEAR), row + _NEAR + 1)
        beside = sizes[about][~jumps[about]]
        usual = np.median(beside) if len(beside) else 0.0
        near[row] = apart[row] <= max(_STEPS * usual, _TOUCHING * period)
    return np.flatnonzero(near) if near.any() and near[jumps].mean() >= _MOST else _NO_ROWS


def _wrapped_differences(values: np.ndarray) -> _Jump:
    """Differences of a wrapped angle: small, but for a whole turn more or less where the angle
    jumps."""
    for (period, _), kind in zip(_TURNS, _DIFFERENCES, strict=True):
        large = np.abs(values) > period / 2
        between = (np.abs(values) > period / 4) & (np.abs(values) < period * 3 / 4)
        other = between.any(axis=0) | (np.abs(values) > _LARGEST * period).any(axis=0)
        for dimension in np.flatnonzero(other).tolist():
            yield (dimension,), kind, _NO_ROWS
        for dimension in np.flatnonzero(
            ~other & large.any(axis=0) & (large.mean(axis=0) <= 0.5)
        ).tolist():
            column, far = values[:, dimension], large[:, dimension]
            again = (
                far[:-1] & far[1:] & (column[:-1] * column[1:] > 0)
            )  # no angle wraps twice at once
            if not again.any() and column[~far].any():
                rows = _joining(column[:, None], far, period)
                if len(rows):
                    yield (dimension,), kind, rows


def _is_switch(column: np.ndarray, *, whole: bool = False) -> bool:
    """Whether a column (T,) has so few values that they are those of a switch. whole: whole numbers
    are, too."""
    return len(np.unique(column)) < _FEWEST_VALUES or (
        whole and bool((column == np.round(column)).all())
    )


def _quaternions(values: np.ndarray) -> _Jump:
    """Four numbers of norm 1 that change their sign, which is the same rotation."""
    for first in range(values.shape[1] - 3):
        four = values[:, first : first + 4]
        away = np.abs(np.linalg.norm(four, axis=1) - 1)
        if away.max() > 1e-2 or (np.ptp(four, axis=0) > 1e-3).sum() < 2:
            continue
        # A gripper's 1 beside three small numbers has nearly norm 1 as well, but does not make room
        # for them.
        small = 1 - np.square(four).max(axis=1)
        if away.mean() > 0.2 * np.abs(small).mean() + 1e-6:
            continue
        product = (four[:-1] * four[1:]).sum(axis=1)
        flips = product < -0.9
        if flips.any() and (np.abs(product) > 0.9).mean() >= _NEARLY_ALL:
            yield (
                tuple(range(first, first + 4)),
                "changes the sign of a quaternion",
                np.flatnonzero(flips),
            )


def _rotation_vectors(values: np.ndarray) -> _Jump:
    """Three numbers of a norm of at most pi, axis times angle, that turn over where the angle
    passes pi."""
    for first in range(values.shape[1] - 2):
        three = values[:, first : first + 3]
        norm = np.linalg.norm(three, axis=1)
        if norm.max() > np.pi + 0.01:
            continue
        near = norm > np.pi / 2
        flips = near[:-1] & near[1:] & ((three[:-1] * three[1:]).sum(axis=1) < 0)
        if flips.any():
            other = (
                three[1:] * (1 - _TURN / np.maximum(norm[1:], 1e-9))[:, None]
            )  # the same rotation, the other way
            joined = np.linalg.norm(three[:-1] - other, axis=1)
            rows = _joining(np.diff(three, axis=0), flips, _TURN, joined)
            if len(rows):
                yield tuple(range(first, first + 3)), "turns over by 2 pi", rows
