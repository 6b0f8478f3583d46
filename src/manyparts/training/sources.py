"""What a run is trained on: datasets, how much of every batch each gives, and the embodiments that they show."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.reader import REWARD
from manyparts.data.mixture import require_weights
from manyparts.data.statistics import pooled
from manyparts.models.checkpoint import Embodiment
from manyparts.printing import shown_short
from manyparts.serialisation import content_hash
from manyparts.types import Spec, TaskEntry, UserError

Data = str | Path | EpisodeDataset


@shown_short
@dataclass(frozen=True)
class Sources:
    """One dataset or several. weights: in proportion to the windows that each gives."""

    datasets: tuple[EpisodeDataset, ...]
    weights: tuple[float, ...] = (1.0,)

    @classmethod
    def open(
        cls,
        data: Data | Sequence[Data],
        weights: Sequence[float] = (),
        *,
        temperature: float | None = None,
    ) -> Sources:
        """Of one dataset or several, or their locations; without weights each counts alike. temperature: weights are
        multiplied by frames^(1 / temperature), so that 1 draws every frame as often as any other, and large ones every
        dataset as often as any other. Raises UserError where a dataset cannot be read or the weights do not fit."""
        locations = [data] if isinstance(data, str | os.PathLike | EpisodeDataset) else data
        if not isinstance(locations, Sequence):
            raise UserError(f"data is of type {type(data).__name__}; expected a dataset or its location, or several")
        if not locations:
            raise UserError("no dataset is given to train on")
        require_weights(weights or [1.0] * len(locations), len(locations))
        if temperature is not None and not temperature > 0:
            raise UserError(f"temperature is {temperature}; expected a number above 0")
        datasets = tuple(map(EpisodeDataset.open, locations))
        for dataset in datasets:
            if dataset.spec != dataset.reader.contents.spec:  # other processes and --resume open it again
                raise UserError(f"the spec of {dataset.location} was changed after it was opened; open it again")
        given = np.asarray(weights or [1.0] * len(locations), dtype=np.float64)
        if temperature is not None:
            sizes = np.asarray([dataset.num_frames for dataset in datasets])
            given = given * (sizes / sizes.max()) ** (1 / temperature)
        return cls(datasets, tuple(given.tolist()))

    @property
    def locations(self) -> list[str]:
        """What `open` finds the datasets by."""
        return [dataset.location for dataset in self.datasets]

    @property
    def fingerprint(self) -> str:
        """A name of the content of all datasets."""
        prints = [dataset.fingerprint for dataset in self.datasets]
        return prints[0] if len(prints) == 1 else content_hash(prints)

    def require_rewards(self, limit: float) -> None:
        """Raises UserError naming the first dataset with a reward beyond -limit to limit, and the reward. One that lies
        elsewhere is known by its statistics alone."""
        for dataset in self.datasets:
            for reward in _extreme_rewards(dataset):
                if not abs(reward) <= limit:
                    raise UserError(
                        f"{dataset.path} has a reward of {reward:g}; this model tells rewards from {-limit:g} to "
                        f"{limit:g} apart: scale the rewards, or choose another model.tokeniser"
                    )

    def require_rewards_of_all_or_none(self) -> None:
        """Raises UserError naming two datasets of which one has rewards and the other none, which would be learned as
        rewards of 0."""
        found = {dataset.has_rewards: dataset.path for dataset in self.datasets}
        if len(found) == 2:
            raise UserError(
                f"{found[True]} has rewards and {found[False]} has none, which a dynamics model would learn as rewards "
                "of 0; choices: datasets that all have rewards, or none of which has any"
            )

    def embodiments(self) -> tuple[Embodiment, ...]:
        """The embodiments in the order of their first datasets, with the statistics of all their frames.

        Bounds of actions that are but measured are those of all frames. Raises UserError where datasets of one
        embodiment otherwise differ in its spec, or in its environment.
        """
        groups: dict[str, list[EpisodeDataset]] = {}
        for dataset in self.datasets:
            groups.setdefault(dataset.spec.embodiment, []).append(dataset)
        return tuple(map(_together, groups.values()))


def _extreme_rewards(dataset: EpisodeDataset) -> Iterator[float]:
    """The least and the greatest of each episode, or of a dataset that lies elsewhere what its statistics say."""
    known = dataset.statistics.features.get(REWARD)
    if dataset.is_remote:
        yield from (*known.min, *known.max) if known is not None else ()
    else:
        for index in range(dataset.num_episodes):
            found = dataset.columns(index).get(REWARD)
            if found is not None and found.size:
                yield from (float(found.min()), float(found.max()))


def _together(datasets: Sequence[EpisodeDataset]) -> Embodiment:
    first = datasets[0]
    for other in datasets[1:]:
        different = first.spec.differences(other.spec.bounded_as(first.spec))
        if first.environment != other.environment:
            ours, theirs = first.environment, other.environment
            keys = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
            different += [f"environment.{key}: {ours.get(key)}, {theirs.get(key)}" for key in sorted(keys)]
        if different:
            raise UserError(
                f"{first.path} and {other.path} both have the embodiment {first.spec.embodiment!r}, but differ "
                f"({'; '.join(different)}); collect them alike"
            )
    tasks: dict[str, TaskEntry] = {}
    for dataset in datasets:
        tasks |= {task.name: task for task in dataset.tasks if task.name not in tasks}
    statistics = pooled([dataset.statistics for dataset in datasets])
    return Embodiment(_widest(datasets), first.environment, statistics, tuple(tasks.values()))


def _widest(datasets: Sequence[EpisodeDataset]) -> Spec:
    """The spec of all; where the bounds of actions are but measured, those of all measurements."""
    specs = [dataset.spec for dataset in datasets]
    low = np.min([spec.action.low for spec in specs], axis=0).tolist()
    high = np.max([spec.action.high for spec in specs], axis=0).tolist()
    return replace(specs[0], action=replace(specs[0].action, low=tuple(low), high=tuple(high)))
