"""Choose episodes of a dataset by number or task, and divide episodes into parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.core.printing import counted, first_of
from manyparts.data.tools.editing.source import Source

REST = "rest"
_MAX_NEAR = 5
_MAX_SHOWN = 5
_PART_NAME = re.compile(r"[^\W][\w.+-]*")


def numbers_in(text: str, existing: Sequence[int], where: str) -> list[int]:
    """The episode numbers that a text names: "3", "7-9" or "3,7-9".

    A range may span numbers that do not exist; its ends have to.

    Args:
        text: what the user typed.
        existing: all episode numbers, ascending.
        where: the dataset, for the error.

    Raises:
        UserError: it is no such text, or an episode does not exist.
    """
    known = set(existing)
    numbers: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", word, re.ASCII)
        if match is None:
            raise UserError(
                f"{word.strip()!r} names no episode; expected a number or a range, such as 3 or 7-9"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        for number in (first, last):
            if number not in known:
                raise UserError(f"{where} has no episode {number}; {_near(number, existing)}")
        if last < first:
            raise UserError(f"{word.strip()!r} ends before it begins; write {last}-{first}")
        numbers += [number for number in existing if first <= number <= last]
    return numbers


def positions_of(source: Source, episodes: Iterable[str]) -> list[int]:
    """The positions of the episodes that some texts name, see `numbers_in`; each once, ascending.

    Raises:
        UserError: a text names none, or one that does not exist.
    """
    existing = source.metadata.numbers.tolist()
    position_of = {number: position for position, number in enumerate(existing)}
    positions: set[int] = set()
    for text in episodes:
        positions |= {position_of[number] for number in numbers_in(text, existing, source.name)}
    return sorted(positions)


def task_names(source: Source) -> list[str]:
    """What users may call the tasks: the instructions, and in datasets of manyparts the names."""
    entries = source.metadata.tasks.entries
    names = [entry.instruction for entry in entries]
    return names if source.own is None else [*names, *(entry.name for entry in entries)]


def tasks_named(source: Source, text: str) -> list[int]:
    """The tasks that users may call so, as positions in the entries.

    Raises:
        UserError: there is none.
    """
    names, count = task_names(source), len(source.metadata.tasks.entries)
    found = {number % count for number, name in enumerate(names) if name == text}
    if not found:
        near = closest(text, dict.fromkeys(names), command=f"manyparts data info {source.name}")
        raise UserError(f"{source.name} has no task {text!r}; {near}")
    return sorted(found)


def positions_of_tasks(source: Source, texts: Iterable[str]) -> list[int]:
    """The positions of the episodes of some tasks, ascending.

    An episode with several tasks belongs to the one of its first row.

    Raises:
        UserError: there is no such task, or it has no episode.
    """
    positions: set[int] = set()
    for text in texts:
        of_task = np.flatnonzero(np.isin(source.tasks_chosen, tasks_named(source, text)))
        if not len(of_task):
            raise UserError(f"{source.name} has no episode of the task {text!r}")
        positions |= set(of_task.tolist())
    return sorted(positions)


def part_values(texts: Iterable[str], flag: str, example: str) -> dict[str, list[str]]:
    """Parse what is in each part: "train=40" for one, or several for one name.

    Args:
        texts: what the user typed.
        flag: the flag, for errors.
        example: such as "train=40 test=10".

    Raises:
        UserError: a text has no name or no value, or a name could be no folder.
    """
    values: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UserError(f"{flag} has {text!r}; expected NAME=VALUE, such as {example}")
        if not _PART_NAME.fullmatch(name):
            raise UserError(
                f"{flag} has the part {name!r}, which names a folder: use letters, digits, '_', '-'"
            )
        values.setdefault(name, []).append(value)
    return values


def counts_of(
    texts: Iterable[str], total: int, *, fractions: bool, where: str = ""
) -> dict[str, int]:
    """How many episodes each part gets.

    Fractions of the total are rounded so that each part is off by less than one, and all parts
    together have what their fractions make together.

    Args:
        texts: "train=0.8" or "train=40"; the value "rest" takes what the others leave.
        total: how many episodes there are.
        fractions: whether the values are fractions, else counts.
        where: what the episodes are of, for errors.

    Raises:
        UserError: a value is no such number, or together they are more than there is.
    """
    flag = "--fractions" if fractions else "--counts"
    example = "train=0.8 test=0.2" if fractions else "train=40 test=10"
    numbers: dict[str, Fraction | None] = {}
    for name, values in part_values(texts, flag, example).items():
        if len(values) > 1:
            raise UserError(f"{flag} has the part {name} twice")
        numbers[name] = None if values[0] == REST else _number(values[0], flag, fractions)
    if list(numbers.values()).count(None) > 1:
        raise UserError(f"{flag} has several parts with {REST}; only one can have what is left")
    wanted = [Fraction(0) if number is None else number for number in numbers.values()]
    if fractions:
        if sum(wanted) > 1:
            raise UserError(f"{flag} sum to {float(sum(wanted)):g}; expected 1 at most")
        ends = [round(sum(wanted[: index + 1]) * total) for index in range(len(wanted))]
        counts = np.diff([0, *ends]).tolist()
    else:
        counts = [int(number) for number in wanted]
        if sum(counts) > total:
            raise UserError(
                f"{flag} sum to {sum(counts)}; there are {counted(total, 'episode')}{where}"
            )
    left = total - sum(counts)
    return {
        name: left if number is None else count
        for (name, number), count in zip(numbers.items(), counts, strict=True)
    }


def divided(positions: Sequence[int], counts: Mapping[str, int]) -> dict[str, list[int]]:
    """Divide positions into parts of so many each, in their order."""
    parts, start = {}, 0
    for name, count in counts.items():
        parts[name] = list(positions[start : start + count])
        start += count
    return parts


def with_rest(parts: Mapping[str, Sequence[int] | None], total: int) -> dict[str, list[int]]:
    """The same parts; the one that is None has all positions that no other part has."""
    taken: set[int] = set()
    for positions in parts.values():
        taken |= set(positions or ())
    rest = [position for position in range(total) if position not in taken]
    return {
        name: rest if positions is None else list(positions) for name, positions in parts.items()
    }


def require_parts(source: Source, parts: Mapping[str, Sequence[int]]) -> None:
    """Raise UserError if a part is empty, or an episode is in two parts."""
    part_of: dict[int, str] = {}
    for name, positions in parts.items():
        if not positions:
            raise UserError(
                f"the part {name} has no episode; {source.name} has "
                f"{counted(len(source.names), 'episode')}, and the parts "
                f"{first_of([f'{part} {len(each)}' for part, each in parts.items()], _MAX_SHOWN)}"
            )
        for position in positions:
            other = part_of.setdefault(position, name)
            if other != name:
                raise UserError(
                    f"episode {source.names[position]} is in the parts {other} and {name}; "
                    "expected each in one"
                )
    folded = [name.casefold() for name in parts]
    if len(set(folded)) < len(folded):
        raise UserError(
            f"the parts {', '.join(parts)} differ in capitals only, and are one folder on some "
            "disks; choose other names"
        )


def _number(text: str, flag: str, fraction: bool) -> Fraction:
    """A positive number: a fraction up to 1, or a count."""
    if fraction and re.fullmatch(r"(0|1)?\.?\d{1,15}|1\.", text, re.ASCII) and 0 < float(text) <= 1:
        return Fraction(text)
    if not fraction and re.fullmatch(r"\d{1,15}", text, re.ASCII) and int(text):
        return Fraction(text)
    expected = "more than 0, 1 at most" if fraction else "a whole number from 1"
    raise UserError(f"{flag} has {text!r}; expected {expected}, or {REST}")


def _near(number: int, existing: Sequence[int]) -> str:
    """Say which episodes there are."""
    if not existing:
        return "it has none"
    span = f"it has {existing[0]} to {existing[-1]}"
    if list(existing) == list(range(existing[0], existing[-1] + 1)):
        return span
    nearest = sorted(sorted(existing, key=lambda each: abs(each - number))[:_MAX_NEAR])
    return f"{span}, with gaps; the nearest are {', '.join(map(str, nearest))}"
