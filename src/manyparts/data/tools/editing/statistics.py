"""Statistics of an edited dataset: of numbers from their rows, of images from their episodes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from manyparts.core.errors import UserError
from manyparts.data.formats.arrow_numbers import to_numpy
from manyparts.data.formats.lerobot.episode_table import STATISTICS
from manyparts.data.formats.lerobot.features import IMAGE_TYPES, number_dtype
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.tools.editing.plan import Plan
from manyparts.data.tools.editing.source import Source
from manyparts.embodiment.statistics import (
    QUANTILES,
    FeatureStatistics,
    RunningImageStatistics,
    RunningStatistics,
    Statistics,
    pooled,
    sample_rows,
)

_LEVELS = 1025  # of a distribution that quantiles are read from
_MOMENTS = ("min", "max", "mean", "std")


class RowStatistics:
    """Statistics of all numbers of a dataset, from its rows.

    Rows with NaN or infinity are left out. Numbers keep the nesting that they have in the source.
    """

    def __init__(self, features: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        """Begin without rows.

        Args:
            features: those of info.json.
            stored: meta/stats.json of the source.
        """
        self._shapes: dict[str, tuple[int, ...]] = {}
        for name, item in features.items():
            if number_dtype(item) is not None:
                self._shapes[name] = _shape(item["shape"], stored.get(name))
        self._running: dict[str, RunningStatistics] = {}
        self._rows: dict[str, int] = {}

    def add(self, table: pa.Table) -> None:
        """Add the rows of an episode."""
        for name in self._shapes.keys() & set(table.column_names):
            self.add_values(name, to_numpy(table[name]))

    def add_values(self, name: str, values: np.ndarray) -> None:
        """Add an episode's numbers (T,) or (T, d) of one feature."""
        width = int(np.prod(self._shapes[name]))
        if values.size % width:
            return  # the rows have another width than info.json says
        rows = values.reshape(-1, width).astype(np.float64)
        running = self._running.setdefault(name, RunningStatistics(width))
        running.update(rows[np.isfinite(rows).all(axis=1)])
        self._rows[name] = self._rows.get(name, 0) + len(values)

    def finish(self) -> dict[str, Any]:
        """The statistics by feature, as meta/stats.json has them."""
        finished: dict[str, Any] = {}
        for name in self._shapes:
            running = self._running.get(name)
            if running is not None and running.count:
                values = running.finish().to_dict()
                nested = {
                    key: np.reshape(numbers, self._shapes[name]).tolist()
                    for key, numbers in values.items()
                    if key != "count"
                }
                finished[name] = nested | {"count": [self._rows[name]]}
        return finished


def statistics_of(values: np.ndarray) -> dict[str, Any]:
    """The statistics of an episode's numbers (T,), as meta/episodes has them."""
    running = RunningStatistics(1)
    running.update(values)
    return running.finish().to_dict()


def image_features(features: Mapping[str, Any]) -> list[str]:
    """The features that are images or videos."""
    return [name for name, item in features.items() if item.get("dtype") in IMAGE_TYPES]


def of_episodes(rows: pa.Table, name: str) -> list[FeatureStatistics] | None:
    """The statistics of a feature in each episode; None unless meta/episodes has all.

    Args:
        rows: meta/episodes.
        name: the feature.
    """
    columns = {
        key: rows[f"{STATISTICS}{name}/{key}"].to_pylist()
        for key in (*_MOMENTS, "count", *QUANTILES)
        if f"{STATISTICS}{name}/{key}" in rows.column_names
    }
    if not columns.keys() >= {*_MOMENTS, "count"}:
        return None
    parts = []
    for index in range(rows.num_rows):
        values = {key: column[index] for key, column in columns.items()}
        try:
            known = {key: value for key, value in values.items() if value is not None}
            parts.append(FeatureStatistics.from_dict(known))
        except (ValueError, TypeError, KeyError, IndexError):
            return None
    return parts


def of_samples(plan: Plan, name: str) -> FeatureStatistics | None:
    """The statistics of some images of each episode; None if they cannot be read as a camera's.

    Args:
        plan: which episodes.
        name: the feature.
    """
    running, readers = RunningImageStatistics(), dict[Source, LeRobotReader]()
    try:
        for episode in plan.episodes:
            source = episode.source
            if source not in readers:
                readers[source] = LeRobotReader(source.path, lambda what, episode=None: None)
            reader, camera = readers[source], readers[source].camera_of(name)
            number = source.metadata.numbers[episode.position]
            found = np.flatnonzero(reader.metadata.numbers == number)
            if camera is None or not len(found):
                return None
            running.update(reader.frames(int(found[0]), camera, sample_rows(episode.length)))
    except UserError:  # depth, a torn image, or no actions: nothing that a dataset has to have
        return None
    return running.finish()


def joined(parts: Sequence[FeatureStatistics]) -> FeatureStatistics:
    """The statistics of the images of several episodes together.

    Minimum, maximum, mean and std are exact. Quantiles are those of a distribution that runs
    straight between the quantiles of each episode; there are none if an episode has none.

    Args:
        parts: the statistics of each episode, at least one.
    """
    if len(parts) == 1:
        return parts[0]
    moments = pooled([Statistics({"": part}) for part in parts])[""]
    if not all(getattr(part, name) for part in parts for name in QUANTILES):
        return moments
    counts = np.asarray([max(part.count, 1) for part in parts], np.float64)
    dimensions = []
    for index in range(len(moments.min)):
        knots = [
            [part.min[index], *(getattr(part, name)[index] for name in QUANTILES), part.max[index]]
            for part in parts
        ]
        dimensions.append(_quantiles(np.asarray(knots), counts / counts.sum()))
    quantiles = dict(zip(QUANTILES, np.asarray(dimensions).T.tolist(), strict=True))
    return FeatureStatistics(
        count=moments.count,
        min=moments.min,
        max=moments.max,
        mean=moments.mean,
        std=moments.std,
        **{name: tuple(values) for name, values in quantiles.items()},
    )


def _quantiles(knots: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """The quantiles of several distributions together.

    Args:
        knots: (n, 7), minimum, the five quantiles and maximum of each.
        fractions: (n,), how much of the whole each is.

    Returns:
        float64 (5,).
    """
    knots = np.maximum.accumulate(knots, axis=1)
    levels = np.linspace(knots.min(), knots.max(), _LEVELS)
    heights = [0.0, *QUANTILES.values(), 1.0]
    below = np.zeros(_LEVELS)
    for each, fraction in zip(knots, fractions, strict=True):
        below += fraction * np.interp(levels, each, heights, left=0.0, right=1.0)
    return np.interp(list(QUANTILES.values()), below, levels)


def _shape(shape: Sequence[Any], stored: Any) -> tuple[int, ...]:
    """How the statistics of a feature are nested: as they are stored, else as info.json says."""
    described = tuple(int(side) for side in shape) or (1,)
    if isinstance(stored, Mapping) and "min" in stored:
        with contextlib.suppress(ValueError, TypeError):  # lists of several lengths have no shape
            nested = np.asarray(stored["min"], np.float64).shape
            if nested and int(np.prod(described)) % int(np.prod(nested)) == 0:
                return nested
    return described
