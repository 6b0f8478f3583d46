"""New instructions of tasks and episodes, from one text or a mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.spec import TaskEntry
from manyparts.data.tools.editing.choosing import positions_of, task_names, tasks_named
from manyparts.data.tools.editing.plan import Labels
from manyparts.data.tools.editing.source import Source

Texts = Mapping[str, str | Sequence[str]]
"""From a task (instruction or name) or episodes ("3", "7-9") to an instruction, or to a list: the
instruction, then its paraphrases."""
_EPISODES = re.compile(r"[\d,\s-]*\d[\d,\s-]*")


@dataclass
class _Labelling:
    """Labels that are being put together."""

    source: Source
    """The dataset."""
    of_task: dict[int, TaskEntry] = field(default_factory=dict)
    """See `Labels`."""
    of_episode: dict[int, TaskEntry] = field(default_factory=dict)
    """See `Labels`."""
    tasks_of_texts: dict[tuple[int, tuple[str, ...]], TaskEntry] = field(default_factory=dict)
    """The tasks of single episodes, by their former task and their texts."""
    notes: list[str] = field(default_factory=list)
    """What a user has to know."""


def labels_from(source: Source, texts: Texts) -> tuple[Labels, list[str]]:
    """The labels that a mapping of tasks or episodes describes.

    Args:
        source: the dataset.
        texts: see `Texts`.

    Returns:
        The labels, and notes.

    Raises:
        UserError: a key is neither a task nor an episode, or a value is no instruction.
    """
    if not texts:
        raise UserError(
            'there are no instructions; expected such as {"pick cube": "pick up the cube"}'
        )
    labelling = _Labelling(source)
    by_episode: dict[int, tuple[str, ...]] = {}
    for key, value in texts.items():
        entry, is_task = _instructions(source, key, value), key in task_names(source)
        if is_task or not _EPISODES.fullmatch(key):
            if is_task and key in source.names:
                raise UserError(
                    f"{key!r} is a task and an episode of {source.name}; say which one it is with "
                    f"--instruction TEXT --tasks {key}, or --episodes {key}"
                )
            for task in tasks_named(source, key):
                _label_task(labelling, task, entry)
            continue
        for position in positions_of(source, [key]):
            if by_episode.setdefault(position, entry) != entry:
                raise UserError(f"episode {source.names[position]} has two instructions")
    for position, entry in by_episode.items():
        _label_episode(labelling, position, entry)
    return _finished(labelling)


def labels_with(
    source: Source, text: str, *, episodes: Sequence[str] = (), tasks: Sequence[str] = ()
) -> tuple[Labels, list[str]]:
    """The labels that give one instruction to some episodes and tasks, or to all.

    Raises:
        UserError: an episode or a task does not exist, or the text is empty.
    """
    entry, labelling = _instructions(source, "--instruction", text), _Labelling(source)
    named = [task for name in tasks for task in tasks_named(source, name)]
    if not episodes and not tasks:
        named = list(range(len(source.metadata.tasks.entries)))
    for task in named:
        _label_task(labelling, task, entry)
    for position in positions_of(source, episodes):
        _label_episode(labelling, position, entry)
    return _finished(labelling)


def _instructions(source: Source, key: str, value: Any) -> tuple[str, ...]:
    """An instruction and its paraphrases."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not texts:
        raise UserError(f"the instruction of {key!r} is {value!r}; expected text")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"the instruction of {key!r} is {text!r}; expected words")
    if len(texts) > 1 and source.own is None:
        raise UserError(
            f"{key!r} has {counted(len(texts), 'instruction')}; LeRobot's format has one per task"
        )
    return tuple(texts)


def _label_task(labelling: _Labelling, task: int, texts: tuple[str, ...]) -> None:
    source = labelling.source
    former = source.metadata.tasks.entries[task]
    new = TaskEntry(former.name, texts[0], _paraphrases(labelling, former, texts))
    other = labelling.of_task.setdefault(task, new)
    if other != new:
        raise UserError(f"the task {former.instruction!r} has two new instructions")


def _label_episode(labelling: _Labelling, position: int, texts: tuple[str, ...]) -> None:
    """Give an episode the task with this instruction, or a new one."""
    former = int(labelling.source.tasks_chosen[position])
    if (former, texts) not in labelling.tasks_of_texts:
        labelling.tasks_of_texts[former, texts] = _task_with(labelling, former, texts)
    labelling.of_episode[position] = labelling.tasks_of_texts[former, texts]


def _task_with(labelling: _Labelling, former: int, texts: tuple[str, ...]) -> TaskEntry:
    """The task with these texts for an episode of a former task: that one, another or a new one."""
    entries = labelling.source.metadata.tasks.entries
    current = [labelling.of_task.get(task, entry) for task, entry in enumerate(entries)]
    everything = [current[former], *current, *labelling.tasks_of_texts.values()]
    for task in everything:
        if task.instruction == texts[0] and task.paraphrases[: len(texts) - 1] == texts[1:]:
            return task
    # Named as `collect` and `play` name it, so that it is a task of the same environment.
    name, taken = f"{entries[former].environment}#{texts[0]}", {task.name for task in everything}
    free = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 3)))
    return TaskEntry(next(each for each in free if each not in taken), texts[0], texts[1:])


def _paraphrases(
    labelling: _Labelling, former: TaskEntry, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """The paraphrases of a new instruction: those given; the former ones only with the former
    instruction, since they may mean something else."""
    if len(texts) == 1 and texts[0] == former.instruction:
        return former.paraphrases
    if len(texts) == 1 and former.paraphrases:
        labelling.notes.append(
            f"{counted(len(former.paraphrases), 'paraphrase')} of {former.instruction!r} left out; "
            "--file takes a list: the instruction, then its paraphrases"
        )
    return texts[1:]


def _merge_equal_tasks(labelling: _Labelling) -> None:
    """Give the episodes of a task that got the instruction of another one to that task."""
    source = labelling.source
    entries = source.metadata.tasks.entries
    first: dict[str, int] = {}
    for task, former in enumerate(entries):
        new = labelling.of_task.get(task, former)
        other = first.setdefault(new.instruction, task)
        if other == task or not {task, other} & labelling.of_task.keys():
            continue
        labelling.of_task.pop(task, None)
        entry = labelling.of_task.get(other, entries[other])
        for position in np.flatnonzero(source.tasks_chosen == task).tolist():
            labelling.of_episode.setdefault(position, entry)


def _finished(labelling: _Labelling) -> tuple[Labels, list[str]]:
    """The labels, if they change anything, and notes on the episodes that each new one has."""
    _merge_equal_tasks(labelling)
    source = labelling.source
    entries, changes = source.metadata.tasks.entries, dict[tuple[str, str], int]()
    for position in range(len(source.names)):
        for task in sorted(source.tasks_of(position)):
            former = entries[task]
            new = labelling.of_episode.get(position) or labelling.of_task.get(task) or former
            if new != former:
                key = (former.instruction, new.instruction)
                changes[key] = changes.get(key, 0) + 1
    if not changes:
        raise UserError(f"nothing changes: {source.name} has these instructions already")
    notes = [
        f"{former!r} is now {new!r} in {counted(count, 'episode')}"
        for (former, new), count in changes.items()
    ]
    return Labels(labelling.of_task, labelling.of_episode), [*notes, *labelling.notes]
