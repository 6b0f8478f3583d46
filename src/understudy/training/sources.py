"""What a run is trained on: datasets, how much of every batch each gives, and the embodiments that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.data.dataset import EpisodeDataset
from understudy.data.mixture import require_weights
from understudy.data.statistics import pooled
from understudy.models.checkpoint import Embodiment
from understudy.serialisation import content_hash
from understudy.types import TaskEntry, UserError


@dataclass(frozen=True)
class Sources:
    """One dataset or several. weights: in proportion to the windows that each gives."""

    datasets: tuple[EpisodeDataset, ...]
    weights: tuple[float, ...] = (1.0,)

    @classmethod
    def open(cls, data: str | Path | Sequence[str | Path], weights: Sequence[float] = ()) -> Sources:
        """Of one folder or several; without weights each counts alike. Raises UserError where a dataset cannot be read
        or the weights do not fit."""
        paths = [data] if isinstance(data, str | Path) else list(data)
        if not paths:
            raise UserError("no dataset is given to train on")
        require_weights(weights or [1.0] * len(paths), len(paths))
        return cls(tuple(map(EpisodeDataset.open, paths)), tuple(map(float, weights or [1.0] * len(paths))))

    @property
    def paths(self) -> list[str]:
        return [str(dataset.path.resolve()) for dataset in self.datasets]

    @property
    def fingerprint(self) -> str:
        """A name of the content of all datasets."""
        prints = [dataset.fingerprint for dataset in self.datasets]
        return prints[0] if len(prints) == 1 else content_hash(prints)

    def embodiments(self) -> tuple[Embodiment, ...]:
        """The embodiments in the order of their first datasets, with the statistics of all their frames.

        Raises UserError where datasets of one embodiment differ in its spec or in its environment.
        """
        groups: dict[str, list[EpisodeDataset]] = {}
        for dataset in self.datasets:
            groups.setdefault(dataset.spec.embodiment, []).append(dataset)
        return tuple(map(_together, groups.values()))


def _together(datasets: Sequence[EpisodeDataset]) -> Embodiment:
    first = datasets[0]
    for other in datasets[1:]:
        different = first.spec.differences(other.spec)
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
    return Embodiment(first.spec, first.environment, statistics, tuple(tasks.values()))
