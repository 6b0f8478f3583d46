"""Find numbers that mislead learning: outliers, and angles that jump."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from manyparts.core.columns import STATE
from manyparts.data.tools.findings import Finding
from manyparts.data.tools.outliers import OutlierRows

_MAX_SHOWN = 5
_TURN, _DEGREES = 2 * np.pi, 360.0
_NEARLY_ALL = 0.95  # minimum fraction of an angle's steps that are small
_NEIGHBOURS = 3  # rows before and after a jump that it is compared with
_MAX_STEPS = 4.0  # a jump connects values that are at most so many usual steps apart
_MIN_CONNECTING = 0.25  # minimum fraction of an episode's jumps that connect such values
_ROUNDING = 1e-3  # of a turn
# Fraction of a turn between both sides of a jump from pi to -pi, whatever the steps around it are.
_TOUCHING = 0.01
_MAX_DIFFERENCE = 1.25  # turns that a difference of a wrapped angle may have
_MIN_VALUES = 4  # different values of an angle: two or three are those of a switch
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
    set_bounds: bool,
) -> Iterator[Finding]:
    """One finding for each run of rows with outliers, at most five.

    Args:
        feature: the column's name.
        rows: the rows with outliers.
        names: the names of the column's dimensions.
        name_of: returns the dataset's name of an episode.
        set_bounds: whether the outliers set the bounds of the actions.
    """
    harm = "it is learned as if it had happened"
    if feature == STATE:
        harm = "it sets the mean and std that states are scaled with"
    elif set_bounds:
        harm = "it sets the bounds that all actions are scaled with"
    for number, run in enumerate(rows[:_MAX_SHOWN], start=1):
        dimension, (value, low, high) = next(iter(run.numbers.items()))
        which = f"row {run.first}" if run.first == run.last else f"rows {run.first} to {run.last}"
        others = ""
        if len(run.numbers) > 1:
            others = f", and so are {len(run.numbers) - 1} more dimensions"
        what = (
            f"{which}: {names[dimension]} is {value:g}{others}; "
            f"its other values lie between {low:g} and {high:g}"
        )
        if number == _MAX_SHOWN < len(rows):
            what += f"; and {len(rows) - _MAX_SHOWN} more runs of rows"
        where = f"episode {name_of(run.episode)}, {feature}"
        remedy = f"correct the row or leave it out: {harm}"
        yield Finding("outliers", "warning", where, what, remedy)


# A candidate: the feature, its dimensions, and what these do.
_Key = tuple[str, tuple[int, ...], str]


@dataclass
class Jumps:
    """Angles and rotations with numbers that jump though they do not, collected one episode at
    a time."""

    _first: dict[_Key, tuple[int, int]] = field(default_factory=dict)  # episode and row
    _count: dict[_Key, int] = field(default_factory=dict)
    _excluded: set[_Key] = field(default_factory=set)  # some episode shows something else

    def add(self, feature: str, episode: int, values: np.ndarray) -> None:
        """Add an episode's values of a feature.

        Args:
            feature: the feature's name.
            episode: the episode's index.
            values: (T, d), all finite.
        """
        explained: set[int] = set()  # dimensions that have a jump already
        for find in (_wrapping, _wrapped_differences, _quaternions, _rotation_vectors):
            for dimensions, kind, rows in find(values):
                key = (feature, dimensions, kind)
                if not len(rows):
                    self._excluded.add(key)
                elif explained.isdisjoint(dimensions):
                    explained |= set(dimensions)
                    self._first.setdefault(key, (episode, int(rows[0])))
                    self._count[key] = self._count.get(key, 0) + len(rows)

    def explained(self, feature: str) -> dict[int, float]:
        """The dimensions that are differences of an angle that jumps, and their maximum size."""
        sizes = {}
        for (period, _), kind in zip(_TURNS, _DIFFERENCES, strict=True):
            for key in self._first:
                if key[0] == feature and key[2] == kind and self._is_confirmed(key):
                    sizes[key[1][0]] = _MAX_DIFFERENCE * period
        return sizes

    def _is_confirmed(self, key: _Key) -> bool:
        """Whether no episode contradicts a candidate. A single large number does not suffice for a
        difference of angles."""
        return key not in self._excluded and (key[2] not in _DIFFERENCES or self._count[key] > 1)

    def findings(
        self, names: Callable[[str], Sequence[str]], name_of: Callable[[int], str]
    ) -> Iterator[Finding]:
        """One finding for each angle or rotation.

        Args:
            names: returns the names of a feature's dimensions.
            name_of: returns the dataset's name of an episode.
        """
        for key, (episode, row) in self._first.items():
            feature, dimensions, kind = key
            if not self._is_confirmed(key):
                continue
            dimension_names = names(feature)
            ends = [dimension_names[number] for number in (dimensions[0], dimensions[-1])]
            which = " to ".join(dict.fromkeys(ends))
            times = "once" if self._count[key] == 1 else f"{self._count[key]} times"
            where = f"in row {row}" if kind in _DIFFERENCES else f"from row {row} to {row + 1}"
            what = f"{which} {kind} {times}, first in episode {name_of(episode)} {where}"
            remedy = "take differences of unwrapped angles" if kind in _DIFFERENCES else _UNWRAPPED
            yield Finding("angles", "warning", feature, what, remedy)


# Dimensions, what they do, and in which rows. No rows: this episode shows that they are something
# else, so that they do it in no episode.
_Candidates = Iterator[tuple[tuple[int, ...], str, np.ndarray]]
_NO_ROWS = np.zeros(0, np.int64)
_DIFFERENCES = tuple(f"holds differences of an angle that jumps by {unit}:" for _, unit in _TURNS)


def _wrapping(values: np.ndarray) -> _Candidates:
    """Single angles in radians or degrees that leave their range on one side and come back on the
    other."""
    steps = np.diff(values, axis=0)
    for period, unit in _TURNS:
        slack = _ROUNDING * period
        low, high = values.min(axis=0), values.max(axis=0)
        symmetric = (low >= -period / 2 - slack) & (high <= period / 2 + slack)
        positive = (low >= -slack) & (high <= period + slack)
        inside = symmetric | positive
        for dimension in np.flatnonzero(~inside).tolist():
            yield (dimension,), f"jumps by {unit}", _NO_ROWS
        jumps = np.abs(steps) > period / 2
        for dimension in np.flatnonzero(inside & jumps.any(axis=0)).tolist():
            # A switch may have a range of exactly a turn; an angle leaves a small gap.
            gap = 1 - (high - low)[dimension] / period
            touching = 1e-6 < gap <= _TOUCHING
            if touching or not _is_switch(values[:, dimension], whole=period == _TURN):
                rows = _connecting(steps[:, dimension, None], jumps[:, dimension], period)
                yield (dimension,), f"jumps by {unit}", rows


def _connecting(
    steps: np.ndarray, jumps: np.ndarray, period: float, distances: np.ndarray | None = None
) -> np.ndarray:
    """The jumps that connect neighbouring values, if many do and the other steps are small.

    Args:
        steps: (T, d), differences between rows.
        jumps: bool (T,), which of them are jumps.
        period: one turn.
        distances: (T,), the true distance across each jump; None: it follows from the steps, for
            angles.

    Returns:
        (n,), rows of jumps.
    """
    across = distances
    if across is None:
        across = np.abs(steps - period * np.round(steps / period)).max(axis=1)
    sizes = np.linalg.norm(steps, axis=1)
    if (np.where(jumps, across, sizes) <= period / 4).mean() < _NEARLY_ALL:
        return _NO_ROWS
    connects = np.zeros(len(jumps), bool)
    for row in np.flatnonzero(jumps).tolist():
        around = slice(max(0, row - _NEIGHBOURS), row + _NEIGHBOURS + 1)
        neighbours = sizes[around][~jumps[around]]
        usual = np.median(neighbours) if len(neighbours) else 0.0
        connects[row] = across[row] <= max(_MAX_STEPS * usual, _TOUCHING * period)
    if not connects.any() or connects[jumps].mean() < _MIN_CONNECTING:
        return _NO_ROWS
    return np.flatnonzero(connects)


def _wrapped_differences(values: np.ndarray) -> _Candidates:
    """Differences of a wrapped angle: small, but a whole turn larger or smaller where it jumps."""
    for (period, _), kind in zip(_TURNS, _DIFFERENCES, strict=True):
        large = np.abs(values) > period / 2
        between = (np.abs(values) > period / 4) & (np.abs(values) < period * 3 / 4)
        excluded = between.any(axis=0) | (np.abs(values) > _MAX_DIFFERENCE * period).any(axis=0)
        for dimension in np.flatnonzero(excluded).tolist():
            yield (dimension,), kind, _NO_ROWS
        possible = ~excluded & large.any(axis=0) & (large.mean(axis=0) <= 0.5)
        for dimension in np.flatnonzero(possible).tolist():
            column, jumps = values[:, dimension], large[:, dimension]
            # No angle wraps twice in a row in the same direction.
            twice = jumps[:-1] & jumps[1:] & (column[:-1] * column[1:] > 0)
            if not twice.any() and column[~jumps].any():
                rows = _connecting(column[:, None], jumps, period)
                if len(rows):
                    yield (dimension,), kind, rows


def _is_switch(column: np.ndarray, *, whole: bool = False) -> bool:
    """Whether a column (T,) has as few values as a switch.

    whole: integers count as those of a switch, too.
    """
    return len(np.unique(column)) < _MIN_VALUES or (
        whole and bool((column == np.round(column)).all())
    )


def _quaternions(values: np.ndarray) -> _Candidates:
    """Four numbers of norm 1 that change their sign, which is the same rotation."""
    for first in range(values.shape[1] - 3):
        four = values[:, first : first + 4]
        away = np.abs(np.linalg.norm(four, axis=1) - 1)
        if away.max() > 1e-2 or (np.ptp(four, axis=0) > 1e-3).sum() < 2:
            continue
        # A gripper's 1 next to three small numbers also has a norm of nearly 1, but it does not
        # shrink when they grow.
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


def _rotation_vectors(values: np.ndarray) -> _Candidates:
    """Three numbers, axis times angle, with a norm of at most pi, that flip where the angle passes
    pi."""
    for first in range(values.shape[1] - 2):
        three = values[:, first : first + 3]
        norm = np.linalg.norm(three, axis=1)
        if norm.max() > np.pi + 0.01:
            continue
        near = norm > np.pi / 2
        flips = near[:-1] & near[1:] & ((three[:-1] * three[1:]).sum(axis=1) < 0)
        if flips.any():
            # The same rotation, turning the other way around the axis.
            other = three[1:] * (1 - _TURN / np.maximum(norm[1:], 1e-9))[:, None]
            distances = np.linalg.norm(three[:-1] - other, axis=1)
            rows = _connecting(np.diff(three, axis=0), flips, _TURN, distances)
            if len(rows):
                yield tuple(range(first, first + 3)), "turns over by 2 pi", rows
