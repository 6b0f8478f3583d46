"""What a run is trained on: datasets, how much of every batch each gives, and the embodiments that
they show."""

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
from manyparts.core.printing import shown_short
from manyparts.core.serialisation import content_hash
from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.arrays import UNKNOWN
from manyparts.data.sampling.mixture import require_weights
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.scales import Scale, fitted_to_data
from manyparts.embodiment.statistics import pooled
from manyparts.models.checkpoint import load_info

Data = str | Path | EpisodeDataset
_ONE_ROBOT = "; if it is one of these, say so with --embodiment NAME"
K = TypeVar("K", bound=Hashable)


@shown_short
@dataclass(frozen=True)
class Sources:
    """One dataset or several. weights: in proportion to the windows that each gives. embodiment:
    what the user calls the robot of all, or of each; empty: what the datasets say."""

    datasets: tuple[EpisodeDataset, ...]
    weights: tuple[float, ...] = (1.0,)
    embodiment: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        data: Data | Sequence[Data],
        weights: Sequence[float] = (),
        *,
        temperature: float | None = None,
        embodiment: str | Sequence[str] = (),
    ) -> Sources:
        """Of one dataset or several, or their locations; without weights each counts as much.

        temperature: weights are multiplied by frames^(1 / temperature), so that 1 draws every frame
        as often as any other, and large ones every dataset as often as any other. embodiment: the
        robot's name, one for all datasets or one for each; none: what the datasets say. Those that
        say nothing are of one robot where their specs are equal. Raises UserError where a dataset
        cannot be read, or weights or names do not fit.
        """
        locations = [data] if isinstance(data, str | os.PathLike | EpisodeDataset) else data
        if not isinstance(locations, Sequence):
            raise UserError(
                f"data is of type {type(data).__name__}; expected a dataset or its location, or several"
            )
        if not locations:
            raise UserError("no dataset is given to train on")
        require_weights(weights or [1.0] * len(locations), len(locations))
        if temperature is not None and not (
            isinstance(temperature, numbers.Real) and temperature > 0
        ):
            raise UserError(f"temperature is {temperature!r}; expected a number above 0")
        embodiment = names_of(embodiment, "embodiment")
        _require_names(embodiment, len(locations))
        opened = list(map(EpisodeDataset.open, locations))
        for dataset in opened:
            if (
                dataset.spec != dataset.reader.contents.spec
            ):  # other processes and --resume open it again
                raise UserError(
                    f"the spec of {dataset.location} was changed after it was opened; open it again"
                )
        datasets = _named(opened, embodiment)
        given = np.asarray(weights or [1.0] * len(locations), dtype=np.float64)
        if temperature is not None:
            sizes = np.asarray([dataset.num_frames for dataset in datasets])
            given = given * (sizes / sizes.max()) ** (1 / temperature)
        return cls(tuple(datasets), tuple(given.tolist()), tuple(embodiment))

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
        """Raises UserError naming the first dataset with a reward beyond -limit to limit, and the
        reward. One that lies elsewhere is known by its statistics alone."""
        for dataset in self.datasets:
            for reward in _extreme_rewards(dataset):
                if not abs(reward) <= limit:
                    raise UserError(
                        f"{dataset.path} has a reward of {reward:g}; this model tells rewards from {-limit:g} to "
                        f"{limit:g} apart: scale the rewards, or choose another model.tokeniser"
                    )

    def require_rewards_of_all_or_none(self) -> None:
        """Raises UserError naming two datasets of which one has rewards and the other none, which
        would be learned as rewards of 0."""
        found = {dataset.has_rewards: dataset.path for dataset in self.datasets}
        if len(found) == 2:
            raise UserError(
                f"{found[True]} has rewards and {found[False]} has none, which a dynamics model would learn as rewards "
                "of 0; choices: datasets that all have rewards, or none of which has any"
            )

    def embodiments(self) -> tuple[Embodiment, ...]:
        """The embodiments in the order of their first datasets, see `grouped`. Datasets that do not
        name their robot are of one where their specs are equal."""
        found = self.grouped(_robots(self.datasets))
        named = {own.spec.embodiment for own in self.datasets if own.spec.named}
        return tuple(
            replace(each, spec=replace(each.spec, embodiment=name, named=name in named))
            for name, each in found.items()
        )

    def grouped(self, keys: Sequence[K]) -> dict[K, Embodiment]:
        """The embodiment of all datasets of one key, with the statistics of all their frames. keys:
        one a dataset.

        Bounds of actions that are but measured are those of all frames. Raises UserError where
        datasets of one embodiment otherwise differ in its spec, or in its environment.
        """
        groups: dict[K, list[EpisodeDataset]] = {}
        for key, dataset in zip(keys, self.datasets, strict=True):
            groups.setdefault(key, []).append(dataset)
        return {key: _together(group) for key, group in groups.items()}

    def joined_lines(self) -> Iterator[str]:
        """A line for each robot of several datasets that not all name it."""
        names = _robots(self.datasets)
        for name in dict.fromkeys(names):
            group = [
                dataset for dataset, own in zip(self.datasets, names, strict=True) if own == name
            ]
            if len(group) > 1 and not all(dataset.spec.named for dataset in group):
                paths = ", ".join(str(dataset.path) for dataset in group)
                yield (
                    f"not all of {paths} name their robot; they are equal in cameras, state and actions, and are taken "
                    f"for one, {name!r}: --embodiment gives one name, or one for each"
                )


def known_embodiments(
    sources: Sources, origin: Path | None
) -> tuple[tuple[Embodiment, ...], list[str]]:
    """All embodiments of a checkpoint, with its scales, since its weights expect them; and a line
    for each number whose scale is taken from our data, see `fitted_to_data`. Without a checkpoint,
    those of our data.

    Those that we have no data of are kept, but have no tasks. Raises UserError for one of ours that
    the checkpoint does not know.
    """
    if origin is None:
        return sources.embodiments(), []
    info = load_info(origin)
    known, lines = [replace(embodiment, tasks=()) for embodiment in info.embodiments], list[str]()
    complaint = f"the dataset is of another embodiment than {origin}"
    places = [
        info.embodiment_set.index(dataset.spec, complaint, advice=_ONE_ROBOT)
        for dataset in sources.datasets
    ]
    for place, ours in sources.grouped(places).items():
        frozen = Scale(known[place].spec, known[place].statistics)
        scale, taken = fitted_to_data(frozen, Scale(ours.spec, ours.statistics), origin)
        spec = scale.spec.called_as(ours.spec) if ours.spec.named else scale.spec
        known[place] = replace(ours, spec=spec, statistics=scale.statistics)
        lines += taken
    return tuple(known), lines


def _require_names(names: Sequence[str], datasets: int) -> None:
    if len(names) not in (0, 1, datasets):
        raise UserError(
            f"embodiment has {len(names)} names for {datasets} datasets; give one for all, or one for each"
        )
    for name in names:
        if not name.strip():
            raise UserError(f"embodiment is {name!r}; expected the robot's name")


def _named(datasets: Sequence[EpisodeDataset], names: Sequence[str]) -> list[EpisodeDataset]:
    """The datasets by the names that the user gives them."""
    if not names:
        return list(datasets)
    each = names if len(names) == len(datasets) else list(names) * len(datasets)
    return [dataset.of_embodiment(name) for dataset, name in zip(datasets, each, strict=True)]


def _robots(datasets: Sequence[EpisodeDataset]) -> list[str]:
    """What the robot of each dataset is called: of one that does not name it, as in another one of
    equal spec."""
    found: list[str] = []
    for dataset in datasets:
        equal = [other.spec for other in datasets if _of_one_robot(dataset, other)]
        names = list(dict.fromkeys(spec.embodiment for spec in equal if spec.named))
        if dataset.spec.named:
            names = [dataset.spec.embodiment]
        elif len(names) > 1:
            raise UserError(
                f"{dataset.path} does not name its robot, which may be {' or '.join(names)}; say which it is with "
                "--embodiment, a name for each dataset"
            )
        found.append(names[0] if names else equal[0].embodiment)
    return found


def _of_one_robot(one: EpisodeDataset, other: EpisodeDataset) -> bool:
    return one.environment == other.environment and not other.spec.differences(
        one.spec.bounded_as(other.spec)
    )


def _extreme_rewards(dataset: EpisodeDataset) -> Iterator[float]:
    """The least and the greatest of each episode, or of a dataset that lies elsewhere what its
    statistics say."""
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
            different += [
                f"environment.{key}: {ours.get(key)}, {theirs.get(key)}" for key in sorted(keys)
            ]
        if different:
            guessed = not (first.spec.named and other.spec.named)
            remedy = (
                "of two robots? name them with --embodiment, a name for each dataset"
                if guessed
                else ""
            )
            raise UserError(
                f"{first.path} and {other.path} both have the embodiment {first.spec.embodiment!r}, but differ "
                f"({'; '.join(different)}); {remedy or 'collect them alike'}"
            )
    statistics = pooled([dataset.statistics for dataset in datasets])
    return Embodiment(_widest(datasets), first.environment, statistics, _tasks(datasets))


def _tasks(datasets: Sequence[EpisodeDataset]) -> tuple[TaskEntry, ...]:
    """Each task once. Tasks without a name of their own, which are only numbered, go on being
    counted."""
    found: dict[str, TaskEntry] = {}
    for task in (task for dataset in datasets for task in dataset.tasks):
        nameless = task.name.startswith(f"{UNKNOWN}/")
        if task.name not in found:
            found[task.name] = task
        elif nameless and all(task.instruction != other.instruction for other in found.values()):
            free = next(name for number in count() if (name := f"{UNKNOWN}/{number}") not in found)
            found[free] = replace(task, name=free)
    return tuple(found.values())


def _widest(datasets: Sequence[EpisodeDataset]) -> Spec:
    """The spec of all; where the bounds of actions are but measured, those of all measurements."""
    specs = [dataset.spec for dataset in datasets]
    low = np.min([spec.action.low for spec in specs], axis=0).tolist()
    high = np.max([spec.action.high for spec in specs], axis=0).tolist()
    return replace(specs[0], action=replace(specs[0].action, low=tuple(low), high=tuple(high)))
