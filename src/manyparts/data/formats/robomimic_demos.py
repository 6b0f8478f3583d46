"""Open a demonstration of robomimic's HDF5, and compare its arrays with those of the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from manyparts.core.columns import DONE, REWARD, SUCCESS, TERMINATED
from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.data.formats.arrays import Plan
from manyparts.data.formats.dataset_description import DatasetDescription
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Array, Group
from manyparts.data.formats.hdf5_rows import row_info
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.numbering import missing_numbers
from manyparts.data.formats.robomimic_actions import ACTIONS, EXPERT_ACTIONS

# Arrays with one number per step, by the column that they are read as.
PER_STEP = {REWARD: "rewards", DONE: "dones", SUCCESS: "success"}
ENDED = "terminated"  # of files that manyparts wrote
_MAX_SHOWN = 5


@dataclass(frozen=True)
class ArraySize:
    """The size of an array as it is read, whatever its dtype or encoding."""

    size: tuple[int, ...]
    """Height and width of a camera; numbers per step of other arrays."""
    extra_rows: int = 0
    """Rows beyond the demonstration's steps."""


# The arrays of a demonstration that are read; names of actions begin with a slash here.
Layout = tuple[tuple[str, ArraySize], ...]


@dataclass(frozen=True)
class Demo:
    """An opened demonstration."""

    name: str
    """Its name, such as "demo_3"."""
    group: Group
    """Its group in the file."""
    steps: Mapping[str, Array]
    """Its own arrays by name, such as actions."""
    observed: Mapping[str, Array]
    """The arrays of its group obs by name."""
    infos: Mapping[str, ArrayInfo]
    """Shape and dtype of the observations with a row per step."""
    faults: Mapping[str, str]
    """All other observations, and why they cannot be read."""

    @property
    def length(self) -> int:
        """Number of steps."""
        return self.steps[ACTIONS].shape[0]

    def layout(self, plan: Plan) -> Layout:
        """The sizes of the arrays that are read."""
        infos = self.infos
        sizes = {
            name: ArraySize((height, width), infos[name].extra_rows)
            for name, height, width in plan.cameras.values()
        }
        for name in plan.state:
            sizes[name] = ArraySize((math.prod(infos[name].shape),), infos[name].extra_rows)
        for name in (ACTIONS, EXPERT_ACTIONS):
            if name in self.steps:
                sizes[f"/{name}"] = ArraySize((math.prod(self.steps[name].shape[1:]),))
        return tuple(sizes.items())


def open_demo(file: Hdf5File, name: str, action_names: Sequence[str]) -> Demo:
    """Open a demonstration.

    Args:
        file: the opened file.
        name: the demonstration's name.
        action_names: the arrays of actions that are read.

    Raises:
        UserError: if it has no steps, or its arrays of steps hold something else.
    """
    where, group = f"{file.path}: {name}", file.group(f"data/{name}")
    members = set(file.names(group))
    read = [key for key in (*action_names, *PER_STEP.values()) if key in members]
    steps = {key: file.array(key, group) for key in read}
    if ACTIONS not in steps:
        raise UserError(f"{where} has no actions")
    length = steps[ACTIONS].shape[0] if steps[ACTIONS].shape else 0
    if not length:
        raise UserError(f"{where} has no steps")
    for key, array in steps.items():
        if key in PER_STEP.values():
            rows = math.prod(array.shape)
        else:
            rows = array.shape[0] if array.shape else 0
        if rows != length or array.dtype.kind not in "biuf":
            raise UserError(
                f"{where} has {key} of {array.dtype} {array.shape}; "
                f"expected {length} rows of numbers"
            )
    observed = file.leaves(file.group("obs", group))
    infos, faults = {}, {}
    for key, array in observed.items():
        info = row_info(file, array, length)
        if isinstance(info, str):
            faults[key] = info
        else:
            infos[key] = info
    return Demo(name, group, steps, observed, infos, faults)


def difference(
    expected: Mapping[str, ArraySize], layout: Mapping[str, ArraySize], demo: Demo
) -> str:
    """How a demonstration differs from the layout of most; "" if it does not.

    Args:
        expected: the layout of most demonstrations.
        layout: the layout of this one.
        demo: the demonstration, from which the text says what is there instead.
    """
    for name, size in expected.items():
        if layout.get(name) == size:
            continue
        array = demo.steps.get(name[1:]) if name.startswith("/") else demo.observed.get(name)
        path = name[1:] if name.startswith("/") else f"obs/{name}"
        if array is None:
            return f"has no {path}, which most demonstrations have"
        rows = ""
        if name in layout and layout[name].extra_rows != size.extra_rows:
            rows = f" for {demo.length} actions"
        why = demo.faults.get(name, f"{array.dtype} {array.shape}{rows}")
        numbers = " x ".join(map(str, size.size))
        more = " and one row more than actions" if size.extra_rows else ""
        return f"has {path} unlike most demonstrations: {why}; they have {numbers} per step{more}"
    return ""


def notes_of_counts(
    file: Hdf5File, names: Sequence[str], lengths: Mapping[str, int]
) -> Iterator[str]:
    """Notes for users on missing demonstrations, and on counts that differ from the rows.

    Args:
        file: the opened file.
        names: all demonstrations, in the order of their numbers.
        lengths: the number of steps of those that are read, by name.
    """
    numbers = [int(name[5:]) for name in names]
    if missing := missing_numbers(numbers, "demo_"):
        yield f"missing demonstrations: {missing}; the others keep their names"
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
    """The first five names, and how many more there are."""
    return first_of(names, _MAX_SHOWN)


def _count(file: Hdf5File, group: Group, name: str) -> int | float | None:
    """A number among a group's attributes; None if it has none."""
    value = file.attribute(group, name)
    return value.item() if isinstance(value, np.ndarray | np.number) and value.size == 1 else None


def per_step_of(description: DatasetDescription | None) -> dict[str, str]:
    """Column to the array of each step that it is read from.

    Args:
        description: Of a file that manyparts wrote; None for others.
    """
    columns = dict(PER_STEP)
    if description is not None and not description.knows_reward:
        del columns[REWARD]
    if description is not None and description.terminates:
        columns[TERMINATED] = ENDED
    return columns


def ended_for_good(
    file: Hdf5File, demos: Sequence[str], description: DatasetDescription
) -> np.ndarray | None:
    """bool (n,), which demonstrations ended for good; None where the file does not say it.

    Args:
        file: One that manyparts wrote.
        demos: The names of the demonstrations.
        description: That of the file.
    """
    if not description.terminates:
        return None
    arrays = (file.array(ENDED, file.group(f"data/{name}")) for name in demos)
    return np.asarray([bool(file.read(array).any()) for array in arrays])
