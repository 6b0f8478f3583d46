"""One demonstration of robomimic's HDF5: its arrays, what they are like, and how they differ from
most others'."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from manyparts.core.columns import DONE, REWARD, SUCCESS
from manyparts.core.errors import UserError
from manyparts.data.formats.arrays import Plan
from manyparts.data.formats.encoded_images import decoded_image_info, encoding_of
from manyparts.data.formats.hdf5 import Array, Group, Hdf5File, holds_bytes
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.robomimic_actions import ACTIONS, EXPERT_ACTIONS

PER_STEP = {REWARD: "rewards", DONE: "dones", SUCCESS: "success"}
_SHOWN = 5


@dataclass(frozen=True)
class Kind:
    """size: height and width of a camera, numbers a step of others. more: rows beyond the
    demonstration's steps."""

    size: tuple[int, ...]
    extra_rows: int = 0


Kinds = tuple[tuple[str, Kind], ...]


@dataclass(frozen=True)
class Demo:
    """An opened demonstration. steps: its own arrays, observed: those of obs, by name. entries:
    what observations of one row a step are like; odd: why the others are none."""

    name: str
    group: Group
    steps: Mapping[str, Array]
    observed: Mapping[str, Array]
    entries: Mapping[str, ArrayInfo]
    odd: Mapping[str, str]

    @property
    def length(self) -> int:
        return self.steps[ACTIONS].shape[0]

    def kinds(self, plan: Plan) -> Kinds:
        """The kinds of what is read of it; names of actions begin with a slash here."""
        entries = self.entries
        kinds = {
            name: Kind((height, width), entries[name].extra_rows)
            for name, height, width in plan.cameras.values()
        }
        kinds |= {
            name: Kind((math.prod(entries[name].shape),), entries[name].extra_rows)
            for name in plan.state
        }
        acted = [name for name in (ACTIONS, EXPERT_ACTIONS) if name in self.steps]
        kinds |= {f"/{name}": Kind((math.prod(self.steps[name].shape[1:]),)) for name in acted}
        return tuple(kinds.items())


def open_demo(file: Hdf5File, name: str, acted: Sequence[str]) -> Demo:
    """acted: the arrays of actions that are read. Raises UserError if it has no steps, or arrays of
    steps that are none."""
    where, group = f"{file.path}: {name}", file.group(f"data/{name}")
    members = set(file.names(group))
    steps = {key: file.array(key, group) for key in (*acted, *PER_STEP.values()) if key in members}
    if ACTIONS not in steps:
        raise UserError(f"{where} has no actions")
    length = steps[ACTIONS].shape[0] if steps[ACTIONS].shape else 0
    if not length:
        raise UserError(f"{where} has no steps")
    for key, array in steps.items():
        rows = (
            math.prod(array.shape)
            if key in PER_STEP.values()
            else array.shape[0]
            if array.shape
            else 0
        )
        if rows != length or array.dtype.kind not in "biuf":
            raise UserError(
                f"{where} has {key} of {array.dtype} {array.shape}; expected {length} rows of numbers"
            )
    observed = file.leaves(file.group("obs", group))
    found = {key: _entry(file, array, length) for key, array in observed.items()}
    entries = {key: entry for key, entry in found.items() if isinstance(entry, ArrayInfo)}
    odd = {key: why for key, why in found.items() if isinstance(why, str)}
    return Demo(name, group, steps, observed, entries, odd)


def unlike(wanted: Mapping[str, Kind], kinds: Mapping[str, Kind], demo: Demo) -> str:
    """What a demonstration lacks that most have; empty if it is like them."""
    for name, kind in wanted.items():
        if kinds.get(name) == kind:
            continue
        array = demo.steps.get(name[1:]) if name.startswith("/") else demo.observed.get(name)
        shown = name[1:] if name.startswith("/") else f"obs/{name}"
        if array is None:
            return f"has no {shown}, which most demonstrations have"
        rows = (
            f" for {demo.length} actions"
            if name in kinds and kinds[name].extra_rows != kind.extra_rows
            else ""
        )
        why = demo.odd.get(name, f"{array.dtype} {array.shape}{rows}")
        more = " and one row more than actions" if kind.extra_rows else ""
        return f"has {shown} unlike most demonstrations: {why}; they have {' x '.join(map(str, kind.size))} a step{more}"
    return ""


def notes_of_counts(
    file: Hdf5File, names: Sequence[str], lengths: Mapping[str, int]
) -> Iterator[str]:
    """What users have to know where demonstrations are missing, or the file counts other steps than
    there are.

    Args:
        file: the file.
        names: all demonstrations, in the order of their numbers.
        lengths: the steps of those that are read.
    """
    numbers = [int(name[5:]) for name in names]
    first = 1 if numbers[0] == 1 else 0  # some count from 1
    missing = [
        f"demo_{before + 1}" + (f" to demo_{after - 1}" if after - before > 2 else "")
        for before, after in pairwise([first - 1, *numbers])
        if after - before > 1
    ]
    if missing:
        yield f"missing demonstrations: {first_names(missing)}; the others keep their names"
    counted = {name: _count(file, file.group(f"data/{name}"), "num_samples") for name in lengths}
    wrong = [
        f"{name} ({counted[name]}, not {rows})"
        for name, rows in lengths.items()
        if counted[name] not in (None, rows)
    ]
    if wrong:
        yield f"num_samples is not the number of rows: {first_names(wrong)}; the rows are followed"
    total, rows = _count(file, file.group("data"), "total"), sum(lengths.values())
    if total not in (None, rows) and len(lengths) == len(names):
        yield f"data counts {total} steps (its attribute total), the demonstrations have {rows}"


def first_names(names: Sequence[str]) -> str:
    """A few of the names, for people."""
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )


def _count(file: Hdf5File, group: Group, name: str) -> int | float | None:
    """A number among a group's attributes; None if it has none."""
    value = file.attribute(group, name)
    return value.item() if isinstance(value, np.ndarray | np.number) and value.size == 1 else None


def _entry(file: Hdf5File, array: Array, length: int) -> ArrayInfo | str:
    """What an observation is like, or why it is none."""
    if array.external:
        return array.external
    if not array.shape:
        return "a single value"
    more = array.shape[0] - length
    if more not in (0, 1):
        return f"{array.shape[0]} rows for {length} actions"
    if holds_bytes(array) and encoding_of(content := file.blobs(array, slice(0, 1))[0]):
        entry = decoded_image_info(content)
        return entry if isinstance(entry, str) else replace(entry, extra_rows=extra)
    return ArrayInfo(array.shape[1:], array.dtype, more)
