"""Find single numbers, or short runs of rows, that are far from all others of their dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from manyparts.embodiment.statistics import ROUNDING, RunningStatistics

FAR = 5.0  # a gap that is so many times as wide as all the rest parts outliers from it
ROWS = 20  # minimum number of rows
_FEW = 20  # one in so many rows may be an outlier, and two always: more are no accident
_STILL = 0.03  # fraction of a feature's median width: dimensions below it hardly move
_UNIT = 1.0  # minimum width of dimensions that hardly move: a button's 1 is not far from 0
_TAIL_NUMBERS = 10  # numbers that show how heavy a tail is
_HEAVY = 10.0  # a gap in a heavy tail has to be so many times as wide as the tail suggests
_ABSURD = 500.0  # widths: nothing that happens regularly is so far away


@dataclass(frozen=True)
class OutlierRows:
    """Neighbouring rows of an episode with outliers."""

    episode: int
    """The episode."""
    first: int
    """The first row."""
    last: int
    """The last row."""
    numbers: dict[int, tuple[float, float, float]]
    """Dimension to its furthest value, and the lowest and highest number of all the rest."""


class Outliers:
    """The outliers of one feature of d numbers, collected one episode at a time.

    A number is an outlier if a gap parts it from all the rest that is five times as wide as the
    range of the rest, and wider than a heavy tail explains. What happens again and again is no
    outlier: bursts of a command, a button that is pressed, the force of a contact.
    """

    def __init__(self, dimension: int) -> None:
        self._running = RunningStatistics(dimension)
        self._extremes: list[tuple[int, np.ndarray]] = []  # episode, minimum and maximum (2, d)

    def add(self, episode: int, values: np.ndarray) -> None:
        """Add an episode's values.

        Args:
            episode: the episode's index.
            values: (T, d), all finite, T at least 1.
        """
        self._running.update(values)
        self._extremes.append(
            (episode, np.stack([values.min(axis=0), values.max(axis=0)]).astype(np.float64))
        )

    def find(
        self, read: Callable[[int], np.ndarray], explained: Mapping[int, float] | None = None
    ) -> list[OutlierRows]:
        """Find the rows with outliers.

        Args:
            read: returns an episode's values (T, d). Only episodes that may have outliers are read.
            explained: dimensions in which numbers up to this size are no outliers.

        Returns:
            The rows, in the order of episodes and rows.
        """
        if self._running.count < ROWS:
            return []
        low, high, still = self._rest()
        rows: dict[tuple[int, int, int], dict[int, tuple[float, float, float]]] = {}
        for dimension, runs in sorted(self._far_runs(read, low, high).items()):
            rest = float(low[dimension]), float(high[dimension])
            explained_size = (explained or {}).get(dimension, -1.0)
            runs = [run for run in runs if not run.whole or _is_absurd(run.values, *rest)]
            runs = [run for run in runs if np.abs(run.values).max() > explained_size]
            if not runs or self._is_usual(runs, *rest, still=bool(still[dimension])):
                continue
            for run in runs:
                furthest = max(run.values, key=lambda value: abs(value - sum(rest) / 2))
                numbers = rows.setdefault((run.episode, run.first, run.last), {})
                numbers[dimension] = (float(furthest), *rest)
        return [
            OutlierRows(episode, first, last, numbers)
            for (episode, first, last), numbers in sorted(rows.items())
        ]

    def _far_runs(
        self, read: Callable[[int], np.ndarray], low: np.ndarray, high: np.ndarray
    ) -> dict[int, list[_Run]]:
        """All runs of rows outside low to high (d,), by dimension."""
        far_runs: dict[int, list[_Run]] = {}
        for episode, (minimum, maximum) in self._extremes:
            dimensions = np.flatnonzero((minimum < low) | (maximum > high)).tolist()
            if dimensions:
                values = read(episode).astype(np.float64)
                for dimension in dimensions:
                    column = values[:, dimension]
                    far = (column < low[dimension]) | (column > high[dimension])
                    far_runs.setdefault(dimension, []).extend(_runs(episode, column, far))
        return far_runs

    def _rest(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lowest and highest number (d,) of all that are no outliers, and whether each dimension
        hardly moves."""
        rows = self._running.sample()
        if len(rows) < self._running.count:  # then the sample may miss a glitch of few rows
            rows = np.concatenate([rows, *(extremes for _, extremes in self._extremes)])
        rows = np.sort(rows, axis=0)
        kept = len(rows) - max(2, len(rows) // _FEW)
        # Widths of all intervals of `kept` sorted neighbours: the narrowest one is the bulk.
        spans = rows[kept - 1 :] - rows[: len(rows) - kept + 1]
        start, width = spans.argmin(axis=0), spans.min(axis=0)
        rounding = ROUNDING * np.abs(np.median(rows, axis=0))
        moving = width[width > rounding]
        still = width <= np.maximum(rounding, _STILL * np.median(moving) if len(moving) else 0)
        limits = [
            _grown(
                rows[:, number],
                int(start[number]),
                int(start[number]) + kept - 1,
                still=bool(still[number]),
            )
            for number in range(rows.shape[1])
        ]
        low, high = np.asarray(limits).reshape(-1, 2).T
        return low, high, still

    def _is_usual(self, runs: list[_Run], low: float, high: float, *, still: bool) -> bool:
        """Whether the runs are something that happens again and again, or the throw of a
        switch."""
        values = np.concatenate([run.values for run in runs])
        episodes = len({run.episode for run in runs})
        if _is_absurd(values, low, high):
            return False
        if still and len(values) > 2 and np.ptp(values) <= ROUNDING * np.abs(values).max():
            return True
        lasting = len(values) >= 2 * len(runs)
        if not lasting and (all(run.first == 0 for run in runs) or all(run.ends for run in runs)):
            return False  # the first or last row of each episode: nothing was measured then
        everywhere = episodes >= max(2, len(self._extremes) / 3) or len(self._extremes) == 1
        return len(runs) > 2 and ((lasting and episodes > 2) or ((lasting or still) and everywhere))


@dataclass(frozen=True)
class _Run:
    """Neighbouring rows of an episode with one dimension's numbers far from the rest."""

    episode: int
    """The episode."""
    first: int
    """The first row."""
    last: int
    """The last row."""
    values: np.ndarray
    """The numbers."""
    ends: bool
    """Whether the episode ends with them."""

    @property
    def whole(self) -> bool:
        """Whether it is a whole episode, which then differs in some way from all others."""
        return self.first == 0 and self.ends


def _runs(episode: int, column: np.ndarray, far: np.ndarray) -> Iterator[_Run]:
    """The runs of rows of a column (T,) where far, bool (T,), is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], far, [False]])))
    for first, after in edges.reshape(-1, 2).tolist():
        yield _Run(episode, first, after - 1, column[first:after], after == len(column))


def _is_absurd(values: np.ndarray, low: float, high: float) -> bool:
    return bool(np.maximum(low - values, values - high).max() > _ABSURD * max(high - low, _UNIT))


def _grown(values: np.ndarray, first: int, last: int, *, still: bool) -> tuple[float, float]:
    """Extend the bulk of sorted values, index first to last, up to the next wide gap on each side.

    Returns:
        The lowest and highest value.
    """
    middle = float(np.median(values))
    while first > 0 or last < len(values) - 1:
        width = max(values[last] - values[first], _UNIT if still else 0.0)
        below = values[first] - values[first - 1] if first > 0 else np.inf
        above = values[last + 1] - values[last] if last < len(values) - 1 else np.inf
        if min(below, above) > FAR * width:
            lower, upper = values[first - 1 : last + 1][::-1], values[first : last + 2]
            side = lower if below <= above else upper  # from the bulk to the value beyond the gap
            if still or not _is_heavy(np.abs(side - middle)):
                break
        if below <= above:
            first -= 1
        else:
            last += 1
    return float(values[first]), float(values[last])


def _is_heavy(away: np.ndarray) -> bool:
    """Whether a tail is so heavy that the step to its outermost number is nothing special.

    The tail's index is estimated after Hill 1975, "A Simple General Approach to Inference About
    the Tail of a Distribution".

    Args:
        away: distances from the median, ending with those of the tail in ascending order.
    """
    count = max(3, min(_TAIL_NUMBERS, len(away) // 10))
    tail = away[-count - 2 : -1]
    if tail[0] <= 0:
        return False
    index = float(np.mean(np.log(tail[1:] / tail[0])))
    return float(np.log(away[-1] / tail[-1])) < _HEAVY * index
