"""The plan of a dataset that is written from others: its episodes, and its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from manyparts.core.spec import TaskEntry
from manyparts.data.tools.editing.source import Source

Step = Callable[[], None]
"""Called after each episode and each file that is written, for a progress bar."""


@dataclass(frozen=True)
class Labels:
    """New tasks of the episodes of one dataset."""

    of_task: Mapping[int, TaskEntry] = field(default_factory=dict)
    """The new task by the former one's position in the entries."""
    of_episode: Mapping[int, TaskEntry] = field(default_factory=dict)
    """The one task of all rows of an episode, by the episode's position."""


@dataclass(frozen=True)
class PlannedEpisode:
    """An episode of a dataset that is to be written."""

    source: Source
    """The dataset that it is from."""
    position: int
    """Its position in that dataset."""
    indices: Mapping[int, int]
    """The new task_index by a task's position in the source's entries."""
    only: int | None = None
    """The new task_index of all rows, where the episode got a task of its own."""

    @property
    def length(self) -> int:
        """Number of frames."""
        return int(self.source.metadata.lengths[self.position])

    @property
    def task(self) -> int:
        """The new index of its task."""
        if self.only is not None:
            return self.only
        return self.indices[int(self.source.tasks_chosen[self.position])]

    def listed(self, tasks: Sequence[TaskEntry]) -> list[str]:
        """The instructions that meta/episodes lists for it, from the new tasks."""
        positions = [task for task in self.source.metadata.listed[self.position] if task >= 0]
        if self.only is not None or not positions:
            return [tasks[self.task].instruction]
        return list(dict.fromkeys(tasks[self.indices[task]].instruction for task in positions))


@dataclass(frozen=True)
class Plan:
    """A dataset that is to be written."""

    episodes: Sequence[PlannedEpisode]
    """Its episodes in their order."""
    tasks: Sequence[TaskEntry]
    """Its tasks in order of their new index."""
    embodiment: str | None = None
    """The robot's new name; None: as it was."""

    @property
    def sources(self) -> list[Source]:
        """The datasets that its episodes are from, each once."""
        return list(dict.fromkeys(episode.source for episode in self.episodes))

    @property
    def first(self) -> Source:
        """The dataset of the first episode. Its description is written."""
        return self.episodes[0].source

    @property
    def starts(self) -> np.ndarray:
        """int64 (n + 1,), the first frame of each episode, and the number of frames."""
        lengths = [episode.length for episode in self.episodes]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @property
    def keeps_rows(self) -> bool:
        """Whether no row changes, so that the data files can stay as they are."""
        source, count = self.first, len(self.episodes)
        if len(self.sources) > 1 or source.lost or count != len(source.listed.numbers):
            return False
        as_listed = [
            episode.only is None and all(index == old for old, index in episode.indices.items())
            for episode in self.episodes
        ]
        known = source.metadata.tasks.positions
        return (
            all(as_listed)
            and all(number == position for number, position in known.items())
            and source.metadata.numbers.tolist() == list(range(count))
            and source.metadata.first_rows is not None
            and source.metadata.first_rows.tolist() == self.starts[:-1].tolist()
            and not source.notes
            # Images by their paths become a part of the rows.
            and not source.named_images
        )


def make_plan(
    chosen: Sequence[tuple[Source, Sequence[int]]],
    labels: Labels | None = None,
    *,
    embodiment: str | None = None,
) -> Plan:
    """Plan a dataset.

    Tasks keep their order; those that no episode has any more are left out.

    Args:
        chosen: each dataset with the positions of its episodes.
        labels: new tasks, where there is one dataset.
        embodiment: the robot's new name; None: as it was.
    """
    labels, tasks = labels or Labels(), _Tasks()
    episodes: list[PlannedEpisode] = []
    for source, positions in chosen:
        indices = _indices(source, positions, labels, tasks)
        for position in positions:
            own = labels.of_episode.get(position)
            only = None if own is None else tasks.index(source, own)
            episodes.append(PlannedEpisode(source, position, indices, only))
    return Plan(tuple(episodes), tuple(tasks.entries), embodiment)


class _Tasks:
    """The tasks of a dataset that is planned: by name where manyparts wrote it, else by text."""

    def __init__(self) -> None:
        self.entries: list[TaskEntry] = []
        self._indices: dict[str, int] = {}

    def index(self, source: Source, task: TaskEntry) -> int:
        """The index of a task, which is added if it is new."""
        key = key_of(source, task)
        if key not in self._indices:
            self._indices[key] = len(self.entries)
            self.entries.append(task)
        return self._indices[key]


def key_of(source: Source, task: TaskEntry) -> str:
    """What tells the tasks of a dataset apart."""
    return task.instruction if source.own is None else task.name


def _indices(
    source: Source, positions: Iterable[int], labels: Labels, tasks: _Tasks
) -> dict[int, int]:
    """The new index of each task that some episodes have."""
    used: set[int] = set()
    for position in positions:
        if position not in labels.of_episode:
            used |= source.tasks_of(position)
    entries = source.metadata.tasks.entries
    return {
        task: tasks.index(source, labels.of_task.get(task, entries[task])) for task in sorted(used)
    }
