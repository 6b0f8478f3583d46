"""Statistics of a dataset's features, from one pass in constant memory, as LeRobot stores them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.core.naming import columns_of_today

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
ROUNDING = 1e-6  # relative to a number's size; what differs by less counts as equal
_SAMPLE_ROWS = 65_536  # kept for quantiles, at most


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of one feature, each with d numbers, one per dimension.

    Those of images have one number per channel, scaled to [0, 1]. Quantiles are empty if a foreign
    dataset does not store them.
    """

    count: int
    """How many rows there were."""

    min: tuple[float, ...]
    """The smallest value."""

    max: tuple[float, ...]
    """The largest value."""

    mean: tuple[float, ...]
    """The mean."""

    std: tuple[float, ...]
    """The standard deviation."""

    q01: tuple[float, ...] = ()
    """The quantile at 0.01."""

    q10: tuple[float, ...] = ()
    """The quantile at 0.10."""

    q50: tuple[float, ...] = ()
    """The median."""

    q90: tuple[float, ...] = ()
    """The quantile at 0.90."""

    q99: tuple[float, ...] = ()
    """The quantile at 0.99."""

    @property
    def still(self) -> np.ndarray:
        """bool (d,): numbers that differ between rows by no more than rounding."""
        low, high = np.asarray(self.min), np.asarray(self.max)
        rounding = ROUNDING * np.maximum(np.abs(low), np.abs(high))
        return (high - low <= rounding) & (np.asarray(self.std) <= rounding)

    def to_dict(self, *, image: bool = False) -> dict[str, Any]:
        """The statistics as LeRobot stores them: lists of d numbers, nested as (3, 1, 1) for
        images, and `count` as a list of one."""
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
    """Statistics of all features of a dataset."""

    features: Mapping[str, FeatureStatistics]
    """By name as in the dataset, such as "observation.state"."""

    def __repr__(self) -> str:
        return f"Statistics({', '.join(self.features)})"

    def __getitem__(self, feature: str) -> FeatureStatistics:
        return self.features[feature]

    def to_dict(self, image_features: Collection[str] = ()) -> dict[str, Any]:
        """See `FeatureStatistics.to_dict`. image_features: names of those that are images."""
        return {
            name: value.to_dict(image=name in image_features)
            for name, value in self.features.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """The inverse of `to_dict`. Former names of features become those of today; features
        without min, max, mean or std are left out."""
        needed = {"min", "max", "mean", "std"}
        complete = {name: item for name, item in values.items() if needed <= item.keys()}
        features = {
            name: FeatureStatistics.from_dict(item)
            for name, item in columns_of_today(complete).items()
        }
        return cls(features)


def pooled(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of the rows of several datasets together, without quantiles, which cannot be
    pooled; those of a single dataset as they are."""
    if len(parts) == 1:
        return parts[0]
    shared = [name for name in parts[0].features if all(name in part.features for part in parts)]
    return Statistics({name: _pooled([part[name] for part in parts]) for name in shared})


class RunningStatistics:
    """Statistics of vectors that come in blocks.

    Count, minimum, maximum, mean and std are exact. Quantiles are exact up to 65 536 rows. Beyond,
    they are those of an evenly spaced sample of at least half as many rows, so that memory stays
    constant and nothing is random.

    Attributes:
        count: how many rows there were.
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
        """Add rows (n, d), or (n,) of a scalar."""
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
        """The statistics of all rows so far."""
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
        """The rows (n, d) from which quantiles are computed."""
        return np.concatenate(self._sample)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `of_state` needs to continue."""
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
        """Keep every `_stride`-th row. Once there are too many, keep every second one of these, and
        double the stride."""
        first = -self.count % self._stride  # the first row whose index among all is a multiple
        kept = values[first :: self._stride].copy()  # a view would keep the whole block alive
        self._sample.append(kept)
        self._sampled += len(kept)
        while self._sampled > _SAMPLE_ROWS:
            self._sample = [np.concatenate(self._sample)[::2].copy()]
            self._sampled = len(self._sample[0])
            self._stride *= 2


class RunningImageStatistics:
    """Exact statistics of each channel of uint8 images, scaled to [0, 1], from a histogram of the
    256 values.

    Attributes:
        count: how many images there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._histogram = np.zeros((3, 256), dtype=np.int64)

    def update(self, frames: np.ndarray) -> None:
        """Add images, uint8 (n, h, w, 3)."""
        assert frames.dtype == np.uint8 and frames.shape[-1] == 3, (frames.dtype, frames.shape)
        for channel in range(3):
            self._histogram[channel] += np.bincount(frames[..., channel].ravel(), minlength=256)
        self.count += len(frames)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `of_state` needs to continue."""
        return {"histogram": self._histogram, "counts": np.asarray([self.count])}

    @classmethod
    def of_state(cls, state: Mapping[str, np.ndarray]) -> RunningImageStatistics:
        """The inverse of `state`."""
        running = cls()
        running._histogram, running.count = state["histogram"].copy(), int(state["counts"][0])
        return running

    def finish(self) -> FeatureStatistics:
        """The statistics of all images so far."""
        assert self.count > 0, "no frames seen"
        levels = np.arange(256) / 255
        fractions = self._histogram / self._histogram.sum(axis=1, keepdims=True)
        mean = fractions @ levels
        std = np.sqrt((fractions * (levels - mean[:, None]) ** 2).sum(axis=1))
        seen = [np.flatnonzero(row) for row in self._histogram]
        # The quantile at q is the first level up to which a fraction q of the pixels lies: as many
        # levels are below it as have a smaller cumulative fraction.
        cumulative = fractions.cumsum(axis=1)
        quantiles = {
            name: _floats((cumulative < q - 1e-12).sum(axis=1) / 255)
            for name, q in QUANTILES.items()
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
    """Evenly spaced rows that stand for all where looking at all would take too long.

    Args:
        length: how many rows there are.
        limit: how many are chosen at most.

    Returns:
        int64 (n,), indices in ascending order, first and last included.
    """
    return np.unique(np.linspace(0, length - 1, min(limit, length)).round().astype(np.int64))


def _pooled(parts: Sequence[FeatureStatistics]) -> FeatureStatistics:
    count = sum(part.count for part in parts)
    # Foreign datasets may not store counts; all then have the same weight.
    fractions = np.array([part.count / count if count else 1 / len(parts) for part in parts])
    means, stds = np.array([part.mean for part in parts]), np.array([part.std for part in parts])
    mean = fractions @ means
    return FeatureStatistics(
        count=count,
        min=_floats(np.min([part.min for part in parts], axis=0)),
        max=_floats(np.max([part.max for part in parts], axis=0)),
        mean=_floats(mean),
        # The variance of all rows: the mean variance within parts, and the variance between them.
        std=_floats(np.sqrt(fractions @ (stds**2 + (means - mean) ** 2))),
    )


def _floats(values: Any) -> tuple[float, ...]:
    """Numbers, however nested, as one tuple."""
    return tuple(float(value) for value in np.ravel(values))
