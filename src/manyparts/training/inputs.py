"""What a run is trained on: datasets with their weights, and the embodiments in them."""

from __future__ import annotations

import numbers
import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np

from manyparts.core.arguments import names_of
from manyparts.core.columns import REWARD
from manyparts.core.errors import UserError
from manyparts.core.printing import first_of, shown_short
from manyparts.core.serialisation import content_hash
from manyparts.core.spec import SHOWN_DIFFERENCES, Spec, TaskEntry
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.arrays import UNKNOWN
from manyparts.data.sampling.mixture import require_weights
from manyparts.embodiment.embodiment import Embodiment, together
from manyparts.embodiment.scales import Scale, fitted_to_data
from manyparts.embodiment.statistics import pooled
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View
from manyparts.models.checkpoint import CheckpointInfo, load_info

Data = str | Path | EpisodeDataset
_SHOWN_BY_VIEWS = ("image_size", "cameras", "action_repeat")  # of environments
_GIVE_IT_THE_TRUNK = "; --new-embodiment trains the run's trunk for this robot"
_NAME_IT = "; if it is one of these, say so with --embodiment NAME"
K = TypeVar("K", bound=Hashable)


@shown_short
@dataclass(frozen=True)
class Sources:
    """The datasets of a run: one, or a mixture of several."""

    datasets: tuple[EpisodeDataset, ...]
    """The datasets, opened."""

    weights: tuple[float, ...] = (1.0,)
    """For each dataset, a number in proportion to how many windows of a batch it gives."""

    embodiment: tuple[str, ...] = ()
    """The name that the user gives to the robot of all datasets, or to that of each; empty: the
    names in the datasets."""

    @classmethod
    def open(
        cls,
        data: Data | Sequence[Data],
        weights: Sequence[float] = (),
        *,
        temperature: float | None = None,
        embodiment: str | Sequence[str] = (),
        views: Sequence[View | None] = (),
    ) -> Sources:
        """Open one dataset or several.

        Args:
            data: a dataset or its location, or several of them.
            weights: for each dataset, a positive number; empty: equal weights.
            temperature: weights are multiplied by frames^(1 / temperature). 1 draws every frame
                with equal probability, a large number every dataset.
            embodiment: the robot's name, one for all datasets or one for each; empty: the names in
                the datasets. Datasets without a name are of one robot if their specs are equal.
            views: through which the datasets are seen, one for all or one for each; empty: as they
                are.

        Raises:
            UserError: a dataset cannot be read, or weights or names do not fit the datasets.
        """
        locations = [data] if isinstance(data, str | os.PathLike | EpisodeDataset) else data
        if not isinstance(locations, Sequence):
            raise UserError(
                f"data is of type {type(data).__name__}; expected a dataset or its location, or "
                "several of them"
            )
        if not locations:
            raise UserError("no dataset is given to train on")
        weights = weights or [1.0] * len(locations)
        require_weights(weights, len(locations))
        if temperature is not None and not (
            isinstance(temperature, numbers.Real) and temperature > 0
        ):
            raise UserError(f"temperature is {temperature!r}; expected a number above 0")
        embodiment = names_of(embodiment, "embodiment")
        _require_names(embodiment, len(locations))
        if len(views) not in (0, 1, len(locations)):
            raise UserError(
                f"there are {len(views)} views for {len(locations)} datasets; give one for all, or "
                "one for each"
            )
        of_each = list(views or [None])
        of_each = of_each * len(locations) if len(of_each) == 1 else of_each
        opened = list(map(EpisodeDataset.open, locations, of_each))
        for dataset in opened:
            # Other processes and --resume open it again, and would see the spec in its files.
            if dataset.spec != dataset.reader.contents.spec:
                raise UserError(
                    f"the spec of {dataset.location} was changed after it was opened; open it again"
                )
        datasets = _named(opened, embodiment)
        scaled = np.asarray(weights, dtype=np.float64)
        if temperature is not None:
            sizes = np.asarray([dataset.num_frames for dataset in datasets])
            scaled = scaled * (sizes / sizes.max()) ** (1 / temperature)
        return cls(tuple(datasets), tuple(scaled.tolist()), tuple(embodiment))

    @property
    def locations(self) -> list[str]:
        """Paths or URLs, from which `open` opens the datasets again."""
        return [dataset.location for dataset in self.datasets]

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins of all datasets, see `EpisodeDataset.plugins`."""
        plugins: dict[str, str] = {}
        for dataset in self.datasets:
            plugins |= dataset.plugins
        return plugins

    @property
    def views(self) -> list[View | None]:
        """Through which view each dataset is seen; empty if there is none."""
        views = [dataset.view for dataset in self.datasets]
        return views if any(view is not None for view in views) else []

    def as_learned(self, info: CheckpointInfo) -> tuple[Sources, list[str]]:
        """The datasets through the views of a run that trains on with them.

        A dataset that fits an embodiment of the run as it is, or that has a view, stays.

        Args:
            info: of the run that training starts from.

        Returns:
            The datasets, and a line for each that is seen through a view now.
        """
        seen, lines = [], []
        for dataset in self.datasets:
            view = info.view_of(dataset.spec) if dataset.view is None else None
            if view is None:
                seen.append(dataset)
                continue
            seen.append(dataset.through(view))
            lines.append(f"{dataset.path} is seen through the view that the run was trained with")
        return replace(self, datasets=tuple(seen)), lines

    @property
    def fingerprint(self) -> str:
        """A hash of the content of all datasets, and of their views."""
        fingerprints = [dataset.fingerprint for dataset in self.datasets]
        return fingerprints[0] if len(fingerprints) == 1 else content_hash(fingerprints)

    def require_rewards(self, limit: float) -> None:
        """Raise UserError naming the first dataset with a reward beyond -limit to limit, and the
        reward. Of a remote dataset only the statistics are looked at."""
        for dataset in self.datasets:
            for reward in _extreme_rewards(dataset):
                if not abs(reward) <= limit:
                    raise UserError(
                        f"{dataset.path} has a reward of {reward:g}; this model tells rewards from "
                        f"{-limit:g} to {limit:g} apart: scale the rewards, or choose another "
                        "model.tokeniser"
                    )

    def require_rewards_of_all_or_none(self) -> None:
        """Raise UserError if one dataset has rewards and another has none, which would be learned
        as rewards of 0; it names two such datasets."""
        paths = {dataset.has_rewards: dataset.path for dataset in self.datasets}
        if len(paths) == 2:
            raise UserError(
                f"{paths[True]} has rewards and {paths[False]} has none, which a dynamics model "
                "would learn as rewards of 0; choices: datasets that all have rewards, or none of "
                "which has any"
            )

    def embodiments(self) -> tuple[Embodiment, ...]:
        """The embodiments in the order of their first datasets, see `grouped`. Datasets that do not
        name their robot are of one embodiment if their specs are equal."""
        by_name = self.grouped(_robots(self.datasets))
        named = {dataset.spec.embodiment for dataset in self.datasets if dataset.spec.named}
        return tuple(each.called(name, named=name in named) for name, each in by_name.items())

    def grouped(self, keys: Sequence[K]) -> dict[K, Embodiment]:
        """The embodiment of the datasets under each key, with the statistics of all their frames.

        Bounds of actions that were only measured become those of all frames.

        Args:
            keys: one for each dataset; datasets with equal keys are of one embodiment.

        Raises:
            UserError: datasets of one embodiment differ otherwise in its spec, or in its
                environment.
        """
        groups: dict[K, list[EpisodeDataset]] = {}
        for key, dataset in zip(keys, self.datasets, strict=True):
            groups.setdefault(key, []).append(dataset)
        return {key: _together(group) for key, group in groups.items()}

    def joined_lines(self) -> Iterator[str]:
        """A line for each robot of several datasets, not all of which name it."""
        groups: dict[str, list[EpisodeDataset]] = {}
        for name, dataset in zip(_robots(self.datasets), self.datasets, strict=True):
            groups.setdefault(name, []).append(dataset)
        for name, group in groups.items():
            if len(group) > 1 and not all(dataset.spec.named for dataset in group):
                paths = ", ".join(str(dataset.path) for dataset in group)
                yield (
                    f"not all of {paths} name their robot; they are equal in cameras, state and "
                    f"actions, and are taken to be one robot, {name!r}: --embodiment gives one "
                    "name, or one for each"
                )


def joint_embodiments(
    sources: Sources, origin: Path | None
) -> tuple[tuple[Embodiment, ...], list[str]]:
    """The embodiments of a run: those of its data, and those of the checkpoint it starts from.

    A checkpoint's embodiments come first, in their order and with their scales, since its weights
    expect these. Those without data here are kept, but have no tasks.

    Args:
        sources: the datasets.
        origin: the checkpoint; None: only the embodiments of the data.

    Returns:
        The embodiments, and a line for each number that is scaled by the data instead of the
        checkpoint, see `fitted_to_data`.

    Raises:
        UserError: a dataset is of an embodiment that the checkpoint does not have.
    """
    if origin is None:
        return sources.embodiments(), []
    info = load_info(origin)
    embodiments = [replace(embodiment, tasks=()) for embodiment in info.embodiments]
    lines: list[str] = []
    complaint = f"the dataset is of another embodiment than {origin}"
    try:
        indices = [
            info.embodiment_set.index(dataset.spec, complaint, advice=_NAME_IT)
            for dataset in sources.datasets
        ]
    except UserError as error:
        raise UserError(f"{error}{_GIVE_IT_THE_TRUNK}") from None
    for index, current in sources.grouped(indices).items():
        frozen = Scale(embodiments[index].spec, embodiments[index].statistics)
        scale, changed = fitted_to_data(frozen, Scale(current.spec, current.statistics), origin)
        spec = scale.spec.called_as(current.spec) if current.spec.named else scale.spec
        known = together([*embodiments[index].sources, *current.sources])
        embodiments[index] = replace(
            current, spec=spec, statistics=scale.statistics, sources=known
        ).called(spec.embodiment, named=spec.named)
        lines += changed
    return tuple(embodiments), lines


def _require_names(names: Sequence[str], datasets: int) -> None:
    if len(names) not in (0, 1, datasets):
        raise UserError(
            f"embodiment has {len(names)} names for {datasets} datasets; give one for all, or one "
            "for each"
        )
    for name in names:
        if not name.strip():
            raise UserError(f"embodiment is {name!r}; expected the robot's name")


def _named(datasets: Sequence[EpisodeDataset], names: Sequence[str]) -> list[EpisodeDataset]:
    """The datasets with the names that the user gives to their robots: one, or one for each."""
    if not names:
        return list(datasets)
    if len(names) == 1:
        names = list(names) * len(datasets)
    return [dataset.of_embodiment(name) for dataset, name in zip(datasets, names, strict=True)]


def _robots(datasets: Sequence[EpisodeDataset]) -> list[str]:
    """The name of each dataset's robot. A dataset that does not name it takes the name from another
    one of equal spec; if none of these has a name, from the first of them."""
    robots: list[str] = []
    for dataset in datasets:
        equal = [other.spec for other in datasets if _of_one_robot(dataset, other)]
        names = list(dict.fromkeys(spec.embodiment for spec in equal if spec.named))
        if dataset.spec.named:
            names = [dataset.spec.embodiment]
        elif len(names) > 1:
            raise UserError(
                f"{dataset.path} does not name its robot, which may be {' or '.join(names)}; say "
                "which it is with --embodiment, a name for each dataset"
            )
        robots.append(names[0] if names else equal[0].embodiment)
    return robots


def _of_one_robot(one: EpisodeDataset, other: EpisodeDataset) -> bool:
    return one.environment == other.environment and not other.spec.differences(
        one.spec.bounded_as(other.spec)
    )


def _extreme_rewards(dataset: EpisodeDataset) -> Iterator[float]:
    """The smallest and the largest reward of each episode; of a remote dataset, those of its
    statistics."""
    if dataset.is_remote:
        statistics = dataset.statistics.features.get(REWARD)
        if statistics is not None:
            yield from (*statistics.min, *statistics.max)
        return
    for index in range(dataset.num_episodes):
        rewards = dataset.columns(index).get(REWARD)
        if rewards is not None and rewards.size:
            yield from (float(rewards.min()), float(rewards.max()))


def _together(datasets: Sequence[EpisodeDataset]) -> Embodiment:
    """The embodiment that datasets share. Raises UserError naming what they differ in."""
    first = datasets[0]
    for other in datasets[1:]:
        different = first.spec.differences(other.spec.bounded_as(first.spec))
        for key in sorted(first.environment.keys() | other.environment.keys()):
            value, other_value = first.environment.get(key), other.environment.get(key)
            may_differ = other.view is not None and key in _SHOWN_BY_VIEWS
            if value != other_value and not may_differ:
                different.append(f"environment.{key}: {value}, {other_value}")
        if different:
            remedy = "collect both with the same settings"
            if not (first.spec.named and other.spec.named):  # the name was a guess
                remedy = "of two robots? name them with --embodiment, a name for each dataset"
            raise UserError(
                f"{first.path} and {other.path} both have the embodiment "
                f"{first.spec.embodiment!r}, but differ "
                f"({first_of(different, SHOWN_DIFFERENCES, separator='; ')}); {remedy}"
            )
    statistics = pooled([dataset.statistics for dataset in datasets])
    sources = [dataset.source or Source(dataset.spec, View()) for dataset in datasets]
    return Embodiment(
        _widest(datasets), first.environment, statistics, _tasks(datasets), together(sources)
    )


def _tasks(datasets: Sequence[EpisodeDataset]) -> tuple[TaskEntry, ...]:
    """Each task once. Tasks without a name of their own are numbered through all datasets."""
    tasks: dict[str, TaskEntry] = {}
    for dataset in datasets:
        for task in dataset.tasks:
            is_numbered = task.name.startswith(f"{UNKNOWN}/")
            instructions = {other.instruction for other in tasks.values()}
            if task.name not in tasks:
                tasks[task.name] = task
            elif is_numbered and task.instruction not in instructions:
                name = next(
                    name for number in count() if (name := f"{UNKNOWN}/{number}") not in tasks
                )
                tasks[name] = replace(task, name=name)
    return tuple(tasks.values())


def _widest(datasets: Sequence[EpisodeDataset]) -> Spec:
    """The spec that contains those of all datasets, which differ at most in measured bounds of
    actions."""
    specs = [dataset.spec for dataset in datasets]
    low = np.min([spec.action.low for spec in specs], axis=0).tolist()
    high = np.max([spec.action.high for spec in specs], axis=0).tolist()
    return replace(specs[0], action=replace(specs[0].action, low=tuple(low), high=tuple(high)))
