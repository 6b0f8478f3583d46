"""Read D4RL's HDF5 files and OGBench's `.npz` files: rows of many episodes, end to end.

`observations` and `actions` have a row per step; `terminals`, `timeouts` or `valids` mark ends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from manyparts.core.columns import ACTION, DONE, REWARD, STATE, TERMINATED
from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.data.formats import arrays
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, refuse
from manyparts.data.formats.kinds import NUMBERS, ArrayInfo, is_image, leak_by_name
from manyparts.data.formats.reader import Contents, notes_of_files
from manyparts.data.formats.row_arrays import BufferedRows, Hdf5Rows, RowArrays
from manyparts.data.formats.row_division import Division, Flags, divide

_ACTIONS, _OBSERVATIONS, _NEXT, _REWARDS = (
    "actions",
    "observations",
    "next_observations",
    "rewards",
)
ENDS = ("terminals", "timeouts", "valids")
_FPS = 20.0  # the files do not say
_MAX_SHOWN = 5
_BLOCK_ROWS = 16_384
_CLOSE = 1e-4  # next observations that differ by less are those of the following row
_MAX_BREAKS = 0.2  # fraction of rows; more breaks than that mark no ends


def is_end_to_end(names: Collection[str]) -> bool:
    """Whether a file with arrays of these names holds episodes end to end, as D4RL's and OGBench's
    do. Names of arrays in groups are paths."""
    first_parts = {name.partition("/")[0] for name in names}
    return {_OBSERVATIONS, _ACTIONS} <= first_parts and not first_parts.isdisjoint(ENDS)


class TransitionsReader:
    """See `formats.reader.Reader`.

    The state is `observations`; images are a camera of that name. `next_observations` only says
    where episodes end, and all other arrays are left out.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[RowArrays],
        name: str,
        complain: Complain = refuse,
        notes: Sequence[str] = (),
    ) -> None:
        """Read the flags of all files, and all numbers once.

        Args:
            path: the file or folder.
            files: its files; all have the same arrays.
            name: the dataset's name, which stands for the instruction that it lacks.
            complain: called for each episode that is torn, and for each of several files that is.
            notes: of `Contents`, to which those of the reader are added.

        Raises:
            UserError: if there is nothing that can be observed, or an array is torn or too short.
        """
        self.path, self._name = path, name
        self._parts = _opened(files, complain)
        first = self._parts[0]
        self._plan = first.plan()
        self._has_rewards = _REWARDS in first.rows.infos
        self._episodes: list[tuple[int, int]] = []  # number of the file, of the episode in it
        names, self._without_steps = [], {}
        for number, part in enumerate(self._parts):
            for index, steps in enumerate(part.division.steps.tolist()):
                episode = f"{part.rows.path.stem}/{index}" if len(files) > 1 else str(index)
                if steps:
                    self._episodes.append((number, index))
                    names.append(episode)
                else:
                    self._without_steps[episode] = "it has a single row, which no action follows"
        if not names:
            raise UserError(f"{path} has no episode of more than one row")
        self.contents = self._describe(names, complain, notes)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        part, start, steps = self._rows(index)
        ended = bool(part.division.ended[self._episodes[index][1]])
        values = {name: part.rows.read(name, start, start + steps) for name in self._plan.state}
        actions = part.rows.read(_ACTIONS, start, start + steps)
        last = np.arange(steps) == steps - 1
        columns = {
            STATE: self._plan.state_of(values, steps),
            ACTION: actions.astype(np.float32).reshape(steps, -1),
            DONE: last & ended,
        }
        if self._has_rewards:
            rewards = part.rows.read(_REWARDS, start, start + steps)
            columns[REWARD] = arrays.one_per_step(rewards, steps, f"{part.rows.path}: {_REWARDS}")
        if part.says_terminated and part.flags.terminals is not None:
            columns[TERMINATED] = part.flags.terminals[start : start + steps]
        return columns

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, _, _ = self._plan.cameras[camera]
        part, start, steps = self._rows(index)
        if not len(rows):
            return np.zeros((0, *self.contents.spec.cameras[camera], 3), np.uint8)
        first, stop = start + int(rows.min()), start + int(rows.max()) + 1
        if stop == start + steps and self._episodes[index][1] == len(part.division.first) - 1:
            stop = part.flags.rows  # whoever reads all images has their checksum compared
        images = part.rows.read(name, first, stop)
        return arrays.colour(images[start + rows - first])

    def files(self) -> Sequence[Path]:
        return [part.rows.path for part in self._parts]

    def _terminated(self, index: int) -> bool:
        part, start, steps = self._rows(index)
        return part.flags.terminals is not None and bool(part.flags.terminals[start + steps - 1])

    def _rows(self, index: int) -> tuple[_Part, int, int]:
        """The file of an episode, its first row there, and its number of steps."""
        number, inside = self._episodes[index]
        division = self._parts[number].division
        return self._parts[number], int(division.first[inside]), int(division.steps[inside])

    def _describe(self, names: Sequence[str], complain: Complain, notes: Sequence[str]) -> Contents:
        readable, statistics = arrays.collect_episodes(
            names, self.columns, self.path, complain, self._plan.state_names
        )
        self._episodes = [self._episodes[index] for index in readable]
        lengths = [self._rows(index)[2] for index in range(len(readable))]
        first, kept = self._parts[0], tuple(names[index] for index in readable)
        terminated = None
        if first.says_terminated:
            terminated = np.asarray([self._terminated(index) for index in range(len(readable))])
        tasks, episode_task = arrays.tasks_of([self._name] * len(readable))
        are_counted = kept == tuple(map(str, range(len(kept))))
        return Contents(
            format=first.format,
            spec=arrays.spec_of(
                self._plan, statistics, embodiment=self._name, named=False, fps=_FPS
            ),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray(lengths, dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images="raw" if self._plan.cameras else "none",
            terminated=terminated,
            left_out=self._plan.left_out,
            episodes_left_out=self._without_steps,
            episode_names=() if are_counted else kept,
            notes=(
                *notes,
                *notes_of_files({part.rows.path.stem: part.notes for part in self._parts}),
                f"there is no instruction and no rate: the name is used, {self._name!r}, "
                f"and {_FPS:g} Hz",
            ),
        )


class _Part:
    """One file, divided into episodes."""

    def __init__(self, file: RowArrays) -> None:
        """Read its flags. Raises UserError if an array that is needed has too few rows."""
        infos = file.infos
        self.rows = BufferedRows(file)
        self._observed = [
            name for name in infos if name.partition("/")[0] == _OBSERVATIONS and infos[name].shape
        ]
        self._require_rows([name for name in (*ENDS, _REWARDS) if name in infos])
        is_hdf5 = isinstance(file, Hdf5Rows)
        is_of_d4rl = (is_hdf5 or "timeouts" in infos) and "valids" not in infos
        # Rewards are in both, and tell nothing; these are of OGBench alone, or need no last row.
        decides = {"valids", "masks", _NEXT} & infos.keys()
        self.might_be_of_d4rl = not is_of_d4rl and _REWARDS in infos and not decides
        storage = "HDF5" if is_hdf5 else ".npz"
        self.format = f"{'D4RL' if is_of_d4rl else 'OGBench'} ({storage})"
        self.says_terminated = is_of_d4rl and "masks" not in infos and "terminals" in infos
        self.ignores_next = False
        self.flags = self._read_flags(is_of_d4rl or _NEXT in infos)
        self.division: Division = divide(self.flags)

    def _require_rows(self, optional: Sequence[str]) -> None:
        """Raise UserError unless actions, observations and the arrays `optional` can be read, and
        have equally many rows."""
        file, infos = self.rows.path, self.rows.infos
        steps = infos[_ACTIONS].shape[0] if _ACTIONS in infos and infos[_ACTIONS].shape else 0
        if not steps:
            raise UserError(f"{file} has no rows of {_ACTIONS}")
        for name in (_ACTIONS, *self._observed, *optional):
            info = infos[name]
            if info.dtype.hasobject:
                raise UserError(f"{file}: {name} holds objects, which are not read")
            if info.shape[:1] != (steps,):
                raise UserError(
                    f"{file}: {name} has shape {info.shape}; expected {steps} rows, as {_ACTIONS} "
                    "has"
                )
            self.rows.read(name, 0, 1)  # what cannot be read at all concerns no single episode
            if not is_image(self._per_step(name)):
                self.rows.verify(name)

    def plan(self) -> arrays.Plan:
        """How observations are read. Raises UnsupportedFormatError if none can be."""
        action = self._per_step(_ACTIONS)
        if action.dtype.kind not in NUMBERS or len(action.shape) > 1:
            raise UnsupportedFormatError(
                f"{self.rows.path}: {_ACTIONS} are {action.dtype} of shape {action.shape} per step",
                "write numbers (n, a), with a row per step",
            )
        observed = {name: self._per_step(name) for name in self._observed}
        plan = arrays.plan(observed, self._left_out())
        if not plan.cameras and not plan.state:
            reasons = [f"{name} ({plan.left_out[name]})" for name in observed]
            raise UnsupportedFormatError(
                f"{self.rows.path} has no observations that can be read: "
                f"{first_of(reasons, _MAX_SHOWN)}",
                "write images (n, h, w, 3) of uint8, or numbers (n, s)",
            )
        return plan

    @property
    def notes(self) -> list[str]:
        """What a user has to know, one line each."""
        notes = list(self.division.notes)
        if self.might_be_of_d4rl:
            notes.append(
                "without timeouts it is read as OGBench's: the last row of an episode has no "
                "action that was taken, and is not read"
            )
        if self.ignores_next:
            notes.append(
                "next_observations are not the observations of following rows: ends are taken "
                "from the flags alone"
            )
        return notes

    def _left_out(self) -> dict[str, str]:
        """Arrays that are not read, and why; those of a group as one."""
        read = {_ACTIONS, _REWARDS, *ENDS, *self._observed}
        groups: dict[str, list[str]] = {}
        for name in self.rows.infos:
            if name not in read:
                group, _, rest = name.partition("/")
                groups.setdefault(group, []).append(rest)
        reasons = {}
        for group, members in groups.items():
            reasons[group] = "not an observation"
            if members != [""]:
                reasons[group] = f"not observations: {first_of(members, _MAX_SHOWN)}"
            elif why := leak_by_name(group):
                reasons[group] = why
        return reasons

    def _per_step(self, name: str) -> ArrayInfo:
        info = self.rows.infos[name]
        return ArrayInfo(info.shape[1:], info.dtype)

    def _read_flags(self, every_row_acts: bool) -> Flags:
        flags = {name: self._flag(name) for name in ENDS if name in self.rows.infos}
        if "valids" in flags and flags["valids"].all():
            del flags["valids"]
            every_row_acts = True
        rows = self.rows.infos[_ACTIONS].shape[0]
        return Flags(rows, **flags, breaks=self._breaks(), every_row_acts=every_row_acts)

    def _flag(self, name: str) -> np.ndarray:
        """bool (n,)."""
        rows = self.rows.infos[_ACTIONS].shape[0]
        values = arrays.one_per_step(
            self.rows.read(name, 0, rows), rows, f"{self.rows.path}: {name}"
        )
        if values.dtype.kind not in NUMBERS or not np.isin(values, (0, 1)).all():
            raise UserError(f"{self.rows.path}: {name} holds other values than 0 and 1")
        return values.astype(bool)

    def _breaks(self) -> np.ndarray | None:
        """See `Flags.breaks`. None without numbers to compare, or if they never follow."""
        infos = self.rows.infos
        comparable = (
            self._observed == [_OBSERVATIONS]
            and _NEXT in infos
            and infos[_NEXT].shape == infos[_OBSERVATIONS].shape
            and infos[_NEXT].dtype.kind in NUMBERS
            and not is_image(self._per_step(_OBSERVATIONS))
        )
        if not comparable:
            return None
        rows = infos[_ACTIONS].shape[0]
        breaks = np.zeros(rows, bool)
        for start in range(0, rows - 1, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, rows - 1)
            following = self.rows.read(_OBSERVATIONS, start + 1, stop + 1)
            stated = self.rows.read(_NEXT, start, stop)
            same = np.isclose(stated, following, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
            breaks[start:stop] = ~same.reshape(stop - start, -1).all(axis=1)
        self.ignores_next = bool(breaks.sum() > _MAX_BREAKS * rows)
        return None if self.ignores_next else breaks


def _opened(files: Sequence[RowArrays], complain: Complain) -> list[_Part]:
    """The files that can be read, and have the same arrays as the first of them."""
    parts: list[_Part] = []
    first_error = ""
    for file in files:
        try:
            part = _Part(file)
            if parts and (why := _difference(parts[0], part)):
                raise UserError(f"{file.path}: {why}")
            parts.append(part)
        except UserError as error:
            if len(files) == 1:
                raise
            first_error = first_error or str(error)
            complain(str(error), file.path.stem)
    if not parts:
        raise UserError(first_error or "no file can be read")
    return parts


def _difference(expected: _Part, part: _Part) -> str:
    """How a file's arrays differ from those of another; "" if they do not."""
    if part.format != expected.format or part.says_terminated != expected.says_terminated:
        return f"it is of {part.format}, {expected.rows.path.name} of {expected.format}"
    plan = expected.plan()
    images = [name for name, _, _ in plan.cameras.values()]
    for name in (_ACTIONS, *plan.state, *images, _REWARDS):
        infos = [each.rows.infos.get(name) for each in (expected, part)]
        shapes = [None if info is None else info.shape[1:] for info in infos]
        if shapes[0] != shapes[1]:
            return (
                f"{name} has shape {shapes[1]} per step, in {expected.rows.path.name} {shapes[0]}"
            )
    return ""
