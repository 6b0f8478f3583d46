"""Statistics of a dataset's features, gathered in one pass and constant memory, stored as LeRobot's
stats.json."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.core.naming import columns_of_today

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
ROUNDING = 1e-6  # of a number's size: what differs by less is the same
_SAMPLE_ROWS = 65_536


@dataclass(frozen=True)
class FeatureStatistics:
    """One number a dimension of a feature (a channel of an image, scaled to [0, 1]); count: rows
    looked at.

    Quantiles are empty where a foreign dataset does not store them.
    """

    count: int
    min: tuple[float, ...]
    max: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    q01: tuple[float, ...] = ()
    q10: tuple[float, ...] = ()
    q50: tuple[float, ...] = ()
    q90: tuple[float, ...] = ()
    q99: tuple[float, ...] = ()

    @property
    def still(self) -> np.ndarray:
        """bool (d,): numbers that differ between rows by no more than rounding, whatever their
        size."""
        low, high = np.asarray(self.min), np.asarray(self.max)
        rounding = ROUNDING * np.maximum(np.abs(low), np.abs(high))
        return (high - low <= rounding) & (np.asarray(self.std) <= rounding)

    def to_dict(self, *, image: bool = False) -> dict[str, Any]:
        """LeRobot's form: lists of d numbers, or nested (3, 1, 1) for images; count as a list of
        one."""
        values: dict[str, Any] = {}
        for name in ("min", "max", "mean", "std", *QUANTILES):
            numbers = getattr(self, name)
            if numbers:
                values[name] = [[[number]] for number in numbers] if image else list(numbers)
        return values | {"count": [self.count]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureStatistics:
        """The inverse of `to_dict`, whatever the nesting. Raises KeyError without min, max, mean or
        std."""
        flat = {name: _floats(values[name]) for name in ("min", "max", "mean", "std")}
        flat |= {name: _floats(values[name]) for name in QUANTILES if name in values}
        count = int(np.ravel(values.get("count", 0))[0])
        return cls(count=count, **flat)


@dataclass(frozen=True)
class Statistics:
    """Feature name, as in the dataset ("observation.state"), to its statistics."""

    features: Mapping[str, FeatureStatistics]

    def __repr__(self) -> str:
        return f"Statistics({', '.join(self.features)})"

    def __getitem__(self, feature: str) -> FeatureStatistics:
        return self.features[feature]

    def to_dict(self, image_features: Collection[str] = ()) -> dict[str, Any]:
        return {
            name: value.to_dict(image=name in image_features)
            for name, value in self.features.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """The inverse of `to_dict`; a feature's former name becomes that of today."""
        complete = {
            name: item
            for name, item in values.items()
            if {"min", "max", "mean", "std"} <= item.keys()
        }
        return cls(
            {
                name: FeatureStatistics.from_dict(item)
                for name, item in columns_of_today(complete).items()
            }
        )


def pooled(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of several datasets' rows together; of quantiles nothing can be said. Of one
    dataset, its own."""
    if len(parts) == 1:
        return parts[0]
    shared = [name for name in parts[0].features if all(name in part.features for part in parts)]
    return Statistics({name: _pooled([part[name] for part in parts]) for name in shared})


class RunningStatistics:
    """Statistics of vectors seen a block at a time.

    Count, minimum, maximum, mean and std are exact. Quantiles are exact up to 65 536 rows; beyond,
    they are those of an evenly spaced sample of at least half as many, so memory stays constant and
    nothing is random.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self._mean = np.zeros(dimension)
        self._squares = np.zeros(dimension)
        self._min = np.full(dimension, np.inf)
        self._max = np.full(dimension, -np.inf)
        self._sample: list[np.ndarray] = []
        self._sampled = 0
        self._stride = 1

    def update(self, values: np.ndarray) -> None:
        """Take in (n, d) values, or (n,) of a scalar."""
        values = np.asarray(values, dtype=np.float64).reshape(len(values), len(self._mean))
        if not len(values):
            return
        self._keep_sample(values)
        mean = values.mean(axis=0)
        total = self.count + len(values)
        difference = mean - self._mean  # Chan, Golub and LeVeque 1979: two blocks' moments to one
        self._squares += ((values - mean) ** 2).sum(axis=0) + difference**2 * (
            self.count * len(values) / total
        )
        self._mean += difference * (len(values) / total)
        self._min = np.minimum(self._min, values.min(axis=0))
        self._max = np.maximum(self._max, values.max(axis=0))
        self.count = total

    def finish(self) -> FeatureStatistics:
        assert self.count > 0, "no values seen"
        quantiles = np.quantile(self.sample(), list(QUANTILES.values()), axis=0)
        return FeatureStatistics(
            count=self.count,
            min=_floats(self._min),
            max=_floats(self._max),
            mean=_floats(self._mean),
            std=_floats(np.sqrt(self._squares / self.count)),
            **{name: _floats(row) for name, row in zip(QUANTILES, quantiles, strict=True)},
        )

    def sample(self) -> np.ndarray:
        """The rows (n, d) that quantiles are of."""
        return np.concatenate(self._sample)

    def state(self) -> dict[str, np.ndarray]:
        """All that `of_state` needs to go on."""
        kept = {"mean": self._mean, "squares": self._squares, "min": self._min, "max": self._max}
        sample = np.concatenate(self._sample) if self._sample else np.zeros((0, len(self._mean)))
        return kept | {"sample": sample, "counts": np.asarray([self.count, self._stride])}

    @classmethod
    def of_state(cls, state: Mapping[str, np.ndarray]) -> RunningStatistics:
        """The inverse of `state`."""
        running = cls(len(state["mean"]))
        running._mean, running._squares = state["mean"].copy(), state["squares"].copy()
        running._min, running._max = state["min"].copy(), state["max"].copy()
        running._sample, running._sampled = [state["sample"]], len(state["sample"])
        running.count, running._stride = map(int, state["counts"])
        return running

    def _keep_sample(self, values: np.ndarray) -> None:
        kept = values[
            -self.count % self._stride :: self._stride
        ].copy()  # a view would keep the whole block
        self._sample.append(kept)
        self._sampled += len(kept)
        while self._sampled > _SAMPLE_ROWS:
            self._sample = [np.concatenate(self._sample)[::2].copy()]
            self._sampled = len(self._sample[0])
            self._stride *= 2


class RunningImageStatistics:
    """Statistics a channel of uint8 images, exact, from a histogram of the 256 values; scaled to
    [0, 1]."""

    def __init__(self) -> None:
        self.count = 0
        self._histogram = np.zeros((3, 256), dtype=np.int64)

    def update(self, frames: np.ndarray) -> None:
        """Take in uint8 (n, h, w, 3) images."""
        assert frames.dtype == np.uint8 and frames.shape[-1] == 3, (frames.dtype, frames.shape)
        for channel in range(3):
            self._histogram[channel] += np.bincount(frames[..., channel].ravel(), minlength=256)
        self.count += len(frames)

    def state(self) -> dict[str, np.ndarray]:
        """All that `of_state` needs to go on."""
        return {"histogram": self._histogram, "counts": np.asarray([self.count])}

    @classmethod
    def of_state(cls, state: Mapping[str, np.ndarray]) -> RunningImageStatistics:
        """The inverse of `state`."""
        running = cls()
        running._histogram, running.count = state["histogram"].copy(), int(state["counts"][0])
        return running

    def finish(self) -> FeatureStatistics:
        assert self.count > 0, "no frames seen"
        levels = np.arange(256) / 255
        share = self._histogram / self._histogram.sum(axis=1, keepdims=True)
        mean = share @ levels
        std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
        seen = [np.flatnonzero(row) for row in self._histogram]
        below = share.cumsum(axis=1)
        quantiles = {
            name: _floats((below < q - 1e-12).sum(axis=1) / 255) for name, q in QUANTILES.items()
        }
        return FeatureStatistics(
            count=self.count,
            min=_floats([row[0] / 255 for row in seen]),
            max=_floats([row[-1] / 255 for row in seen]),
            mean=_floats(mean),
            std=_floats(std),
            **quantiles,
        )


def sample_rows(length: int, limit: int = 8) -> np.ndarray:
    """Up to `limit` evenly spaced rows of an episode, whose images stand for the rest in image
    statistics."""
    return np.unique(np.linspace(0, length - 1, min(limit, length)).round().astype(np.int64))


def _pooled(parts: Sequence[FeatureStatistics]) -> FeatureStatistics:
    count = sum(part.count for part in parts)
    share = np.array([part.count / count if count else 1 / len(parts) for part in parts])
    means, stds = np.array([part.mean for part in parts]), np.array([part.std for part in parts])
    mean = share @ means
    return FeatureStatistics(
        count=count,
        min=_floats(np.min([part.min for part in parts], axis=0)),
        max=_floats(np.max([part.max for part in parts], axis=0)),
        mean=_floats(mean),
        std=_floats(np.sqrt(share @ (stds**2 + (means - mean) ** 2))),
    )


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.ravel(values))
