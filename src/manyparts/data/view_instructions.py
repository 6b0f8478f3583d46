"""Instructions and episodes of a dataset as a view has them: from a text, a table or a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.core.printing import counted
from manyparts.core.spec import TaskEntry
from manyparts.data.formats.arrays import UNKNOWN
from manyparts.data.formats.reader import Contents, Reader, TextReader
from manyparts.embodiment.views.view import View


@dataclass(frozen=True)
class Cut:
    """A part of an episode of the files, or all of it."""

    episode: int
    """The episode's index in the files."""
    start: int
    """Its first row."""
    stop: int
    """The row after its last one."""

    def is_whole(self, lengths: np.ndarray) -> bool:
        """Whether it is all of its episode. lengths: of all episodes."""
        return self.start == 0 and self.stop == lengths[self.episode]


@dataclass(frozen=True)
class Worded:
    """The episodes of a view, and what asks for each."""

    cuts: tuple[Cut, ...]
    """n episodes."""
    tasks: tuple[TaskEntry, ...]
    """All tasks."""
    episode_task: np.ndarray
    """int64 (n,), index into `tasks`."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Episodes that are not among the n, and why."""
    notes: tuple[str, ...] = ()
    """What a user has to know."""


def worded(reader: Reader, view: View) -> Worded:
    """The episodes of a view, and what asks for each.

    Args:
        reader: of the files.
        view: whether the instruction comes from a text, a table or a column.

    Raises:
        UserError: the table names something that is not there, or there is no such column.
    """
    contents = reader.contents
    lengths = contents.lengths.tolist()
    cuts = tuple(Cut(number, 0, length) for number, length in enumerate(lengths))
    own = Worded(cuts, contents.tasks, contents.episode_task)
    if view.instruction is not None:
        first, *others = view.instruction.split("\n")
        same = tuple(
            replace(task, instruction=first, paraphrases=tuple(others)) for task in contents.tasks
        )
        return replace(own, tasks=same)
    if view.instructions:
        table = {name: text.split("\n") for name, text in view.instructions.items()}
        return _by_table(own, contents, table)
    if view.instruction_column is not None:
        return _by_column(own, reader, view.instruction_column)
    return own


def _by_table(own: Worded, contents: Contents, table: Mapping[str, Sequence[str]]) -> Worded:
    """Instructions by tasks, and by episodes, which come before those of their task."""
    by_episode = {}
    names = [contents.name_of(index) for index in range(len(own.cuts))]
    taken = set(names)
    for index, name in enumerate(names):
        # Its place counts only where that is no other episode's name.
        for key in (*({str(index)} - taken), name):
            if key in table:
                by_episode[index] = tuple(table[key])
    tasks = [_reworded(task, table) for task in own.tasks]
    known = {name for task in own.tasks for name in (task.name, task.instruction)}
    known |= taken
    for name in table:
        if name not in known and not _is_episode(name, len(own.cuts)):
            raise UserError(f"view.instructions names {name!r}; {closest(name, sorted(known))}")
    episode_task = own.episode_task.copy()
    for index, texts in by_episode.items():
        episode_task[index] = task_with(tasks, texts)
    return _without_unused(replace(own, tasks=tuple(tasks), episode_task=episode_task))


def _by_column(own: Worded, reader: Reader, column: str) -> Worded:
    """Episodes cut where the text of a column changes, each part with its text."""
    contents = reader.contents
    if column not in contents.text_columns or not isinstance(reader, TextReader):
        columns = contents.text_columns
        known = closest(column, columns) if columns else "there are none"
        raise UserError(
            f"view.instruction_column is {column!r}, which is no column of texts; {known}"
        )
    cuts: list[Cut] = []
    numbers: list[int] = []
    tasks = list(own.tasks)
    left_out: dict[str, str] = {}
    rows = 0
    for whole in own.cuts:
        texts = [(text or "").strip() for text in reader.texts(whole.episode, column)]
        parts = [part for part in _runs(texts) if texts[part.start]]
        if not parts:
            left_out[contents.name_of(whole.episode)] = f"no {column} in any row"
        else:
            rows += len(texts) - sum(map(len, parts))
        for part in parts:
            cuts.append(Cut(whole.episode, part.start, part.stop))
            numbers.append(task_with(tasks, [texts[part.start]]))
    if not cuts:
        raise UserError(f"view.instruction_column is {column!r}, which has no text in any row")
    notes = (f"{counted(rows, 'row')} without a {column} left out",) if rows else ()
    return _without_unused(
        Worded(tuple(cuts), tuple(tasks), np.array(numbers, np.int64), left_out, notes)
    )


def _runs(texts: Sequence[str]) -> list[range]:
    """The ranges of rows with equal texts next to each other."""
    changes = [row for row in range(1, len(texts)) if texts[row] != texts[row - 1]]
    bounds = [0, *changes, len(texts)]
    return [range(start, stop) for start, stop in pairwise(bounds) if stop > start]


def _is_episode(name: str, episodes: int) -> bool:
    return name.isdecimal() and int(name) < episodes


def _reworded(task: TaskEntry, table: Mapping[str, Sequence[str]]) -> TaskEntry:
    for name in (task.name, task.instruction):
        if name in table:
            first, *others = table[name]
            return replace(task, instruction=first, paraphrases=tuple(others))
    return task


def task_with(tasks: list[TaskEntry], texts: Sequence[str]) -> int:
    """The index of the task with these texts, which is added to `tasks` if there is none."""
    first, *others = texts
    for number, task in enumerate(tasks):
        if task.instruction == first:
            # All of them ask for the same.
            further = [text for text in others if text not in (first, *task.paraphrases)]
            tasks[number] = replace(task, paraphrases=(*task.paraphrases, *further))
            return number
    names = {task.name for task in tasks}
    name = next(name for number in count() if (name := f"{UNKNOWN}/{number}") not in names)
    tasks.append(TaskEntry(name, first, tuple(others)))
    return len(tasks) - 1


def _without_unused(all_of: Worded) -> Worded:
    """The same without tasks that no episode is of."""
    used, numbers = np.unique(all_of.episode_task, return_inverse=True)
    tasks = tuple(all_of.tasks[index] for index in used)
    return replace(all_of, tasks=tasks, episode_task=numbers.astype(np.int64))
