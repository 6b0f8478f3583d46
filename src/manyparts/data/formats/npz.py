"""Read a plain folder of `.npz` files, one per episode, in the order of their names.

Arrays have a row per step: `action` or `actions`; images (uint8, (T, h, w, 3)) and numbers, which
are observations; and optionally `expert_action`, `reward`, `success`, `done`. Observations may have
one row more, which no action follows. A text such as `instruction`, `language_instruction` or
`sentence` is the task's instruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from manyparts.core.columns import ACTION, DONE, EXPERT_ACTION, REWARD, STATE, SUCCESS
from manyparts.core.errors import UserError
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import EpisodeArrays
from manyparts.data.formats.encoded_images import encoding_of
from manyparts.data.formats.episode_marks import marked_episodes, why_episode_mark
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, refuse
from manyparts.data.formats.kinds import NUMBERS, ArrayInfo
from manyparts.data.formats.npz_files import (
    ACTIONS,
    Headers,
    action_name,
    episode_files,
    many_episodes,
    mark_names,
    read_arrays,
    read_headers,
    read_sampled,
    require_episodes,
    rows_of,
    splits_note,
)
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.texts import (
    changing_note,
    decode_texts,
    distinct_texts,
    instruction_names,
)

# Names of arrays with one number per step, by the column that they are read as.
_PER_STEP = {
    REWARD: ("reward", "rewards"),
    SUCCESS: ("success", "is_success"),
    DONE: ("done", "dones", "terminals"),
}
_EXPERT = "expert_action"
_FPS = 20.0  # the files do not say


class NpzReader:
    """See `formats.reader.Reader`."""

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        """Open a folder.

        Args:
            path: the folder.
            complain: called for each file that is torn, or not like most.

        Raises:
            UserError: if the files are no episodes.
        """
        self.path = path
        headers_of = _headers(path, complain)
        action = action_name(headers_of.values())
        if action is None:
            file, headers = next(iter(headers_of.items()))
            names = ", ".join(list(headers)[:8])
            raise UnsupportedFormatError(
                f"{file} has no array named {' or '.join(ACTIONS)}; it has {names}",
                "concatenate all numbers of the action to one array named action, (T, a)",
            )
        self._action = action
        without_action = {
            file.stem: f"no array named {action}"
            for file, headers in headers_of.items()
            if action not in headers
        }
        headers_of = {file: headers for file, headers in headers_of.items() if action in headers}
        require_episodes(headers_of, action)
        self._files = list(headers_of)
        candidates = instruction_names(_array_names(headers_of))
        self._texts = [name for name in candidates if self._holds_text(name, headers_of)]
        layouts = [self._layout(headers) for headers in headers_of.values()]
        self._infos, left_out = arrays.majority_layout(layouts)
        self._per_step: dict[str, str] = {}  # column to array
        for column, names in _PER_STEP.items():
            if present := [name for name in names if name in self._infos]:
                self._per_step[column] = present[0]
        self._actions = {ACTION: action}  # column to array
        if _EXPERT in self._infos and self._is_like_action(_EXPERT):
            self._actions[EXPERT_ACTION] = _EXPERT
        self._plan = self._make_plan(headers_of, left_out)
        self.contents = self._describe(headers_of, layouts, without_action, complain)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        file = self._files[index]
        return self._columns(read_arrays(file, self._column_names), file)

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, _, _ = self._plan.cameras[camera]
        return arrays.colour(read_arrays(self._files[index], [name])[name][rows])

    def files(self) -> Sequence[Path]:
        return self._files

    @property
    def _column_names(self) -> list[str]:
        return [*self._plan.state, *self._actions.values(), *self._per_step.values()]

    def _columns(self, stored: Mapping[str, np.ndarray], file: Path) -> dict[str, np.ndarray]:
        length = len(stored[self._action])
        values = {name: stored[name][:length] for name in self._column_names}
        columns = {STATE: self._plan.state_of(values, length)}
        for name, key in self._actions.items():
            columns[name] = values[key].astype(np.float32).reshape(length, -1)
        return columns | {
            name: arrays.one_per_step(values[key], length, f"{file}: {key}")
            for name, key in self._per_step.items()
        }

    def _make_plan(
        self, headers_of: Mapping[Path, Headers], left_out: Mapping[str, str]
    ) -> arrays.Plan:
        """Decide how observations are read. Raises UserError if most files' actions are no
        numbers."""
        action = self._infos.get(self._action)
        if action is None or action.dtype.kind not in "biuf":
            raise UserError(
                f"{self._files[0]}: {self._action} {left_out.get(self._action, 'holds no numbers')}"
            )
        if len(action.shape) > 1:
            shape = ", ".join(map(str, action.shape))
            raise UnsupportedFormatError(
                f"{self._files[0]}: {self._action} has shape (T, {shape})",
                "write actions (T, a), with one .npz per episode",
            )
        read = {*self._actions.values(), *self._per_step.values()}
        reasons = dict(left_out)
        for name in self._infos.keys() - read:
            if why := self._why_not_observed(name, headers_of):
                reasons[name] = why
        observations = self._infos.keys() - read - reasons.keys()
        infos = {name: self._infos[name] for name in observations}
        return arrays.plan(
            infos, reasons, lambda name: (values for _, values in read_sampled(headers_of, name))
        )

    def _why_not_observed(self, name: str, headers_of: Mapping[Path, Headers]) -> str:
        """Why an array with a row per step is no observation, by the rules of this format."""
        info = self._infos[name]
        if name == _EXPERT:
            return f"{info.dtype} {info.shape}, unlike {self._action}"
        for column, names in _PER_STEP.items():
            if name in names and column in self._per_step:
                return f"next to {self._per_step[column]}, which is read"
        if info.shape in ((), (1,)) and info.dtype.kind in NUMBERS:
            values = (values for _, values in read_sampled(headers_of, name))
            if why := why_episode_mark(name, values):
                return why
        if info.dtype == np.uint8 and len(info.shape) == 1:
            encoding = self._encoding(name, headers_of)
            return f"bytes of a {encoding} image" if encoding else ""
        return ""

    def _is_like_action(self, name: str) -> bool:
        action = self._infos.get(self._action)
        return action is not None and self._infos[name].kind == action.kind

    def _describe(
        self,
        headers_of: Mapping[Path, Headers],
        layouts: Sequence[EpisodeArrays],
        without_action: Mapping[str, str],
        complain: Complain,
    ) -> Contents:
        """Read all files once, and keep those that are like most."""
        cameras = [name for name, _, _ in self._plan.cameras.values()]
        expected = {name: self._infos[name] for name in [*self._column_names, *cameras]}
        lengths, instructions, succeeded = {}, {}, {}

        def read(index: int) -> dict[str, np.ndarray]:
            file, headers = self._files[index], headers_of[self._files[index]]
            if why := layouts[index].difference_from(expected):
                raise UserError(f"{file}: {why}")
            texts = [name for name in self._texts if name in headers]
            stored = read_arrays(
                file, dict.fromkeys([*mark_names(headers), *self._column_names, *texts])
            )
            if marks := marked_episodes(stored, rows_of(headers)):
                raise UserError(many_episodes(file, marks).what)
            columns = self._columns(stored, file)
            instructions[index] = self._instructions(stored, len(columns[ACTION]))
            lengths[index] = len(columns[ACTION])
            succeeded[index] = SUCCESS in columns and bool(columns[SUCCESS].any())
            return columns

        names = [file.stem for file in self._files]
        readable, statistics = arrays.collect_episodes(
            names, read, self.path, complain, self._plan.state_names
        )
        self._files = [self._files[index] for index in readable]
        name = self.path.absolute().name
        tasks, episode_task = arrays.tasks_of(
            [(instructions[index] or [name])[0] for index in readable]
        )
        succeeded_readable = np.asarray([succeeded[index] for index in readable])
        longer = [name for name, info in expected.items() if info.extra_rows]
        several = sum(len(instructions[index]) > 1 for index in readable)
        return Contents(
            format="folder of .npz",
            spec=arrays.spec_of(self._plan, statistics, embodiment=name, named=False, fps=_FPS),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray([lengths[index] for index in readable], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images="raw" if self._plan.cameras else "none",
            succeeded=succeeded_readable if SUCCESS in self._per_step else None,
            left_out=self._plan.left_out,
            episodes_left_out=without_action,
            episode_names=tuple(names[index] for index in readable),
            notes=(
                *arrays.extra_row_note(longer, self._action),
                *splits_note(self._files),
                *changing_note(several),
            ),
        )

    def _layout(self, headers: Headers) -> EpisodeArrays:
        """A file's arrays per step, so without their first axis."""
        steps, infos, faults = _steps(headers, self._action), {}, {}
        for name, info in headers.items():
            if name in self._texts:
                continue
            extra_rows = info.shape[0] - steps if info.shape else -1
            if info.dtype.hasobject:
                faults[name] = "holds Python objects, which are not read"
            elif not steps:
                faults[name] = "has no rows"
            elif extra_rows in (0, 1):
                infos[name] = ArrayInfo(info.shape[1:], info.dtype, extra_rows)
            else:
                faults[name] = f"has shape {info.shape}, no row for each of the {steps} steps"
        return EpisodeArrays(infos, faults)

    def _instructions(self, stored: Mapping[str, np.ndarray], steps: int) -> list[str]:
        """An episode's different instructions."""
        return distinct_texts(
            self._decode(stored[name], steps) or [] for name in self._texts if name in stored
        )

    def _holds_text(self, name: str, headers_of: Mapping[Path, Headers]) -> bool:
        """Whether an array with the name of an instruction is text, and no numbers."""
        per_file = []
        for file, values in read_sampled(headers_of, name):
            texts = self._decode(values, _steps(headers_of[file], self._action))
            if texts is None:
                return False
            per_file.append(values.dtype.kind in "SU" or any(texts))
        return any(per_file)

    def _decode(self, values: np.ndarray, steps: int) -> list[str] | None:
        """The texts of strings or character codes, or a task's number as text; else None."""
        is_number = not values.ndim or (values.ndim == 1 and len(values) == steps)
        if values.dtype.kind not in "SU" and is_number:
            return [str(values.ravel()[0])] if values.size and values.dtype.kind in "biu" else None
        return decode_texts(values)

    def _encoding(self, name: str, headers_of: Mapping[Path, Headers]) -> str | None:
        encodings = [
            encoding_of(rows[0]) for _, rows in read_sampled(headers_of, name) if len(rows)
        ]
        return next(filter(None, encodings), None)


def _headers(path: Path, complain: Complain) -> dict[Path, Headers]:
    """The headers of all files of a folder that are not torn."""
    headers_of: dict[Path, Headers] = {}
    first_error = ""
    for file in episode_files(path):
        try:
            headers_of[file] = read_headers(file)
        except UserError as error:
            first_error = first_error or str(error)
            complain(str(error), file.stem)
    if not headers_of:
        raise UserError(first_error or f"{path} holds no .npz files")
    return headers_of


def _array_names(headers_of: Mapping[Path, Headers]) -> list[str]:
    """The names of all arrays of all files, each once."""
    names: dict[str, None] = {}
    for headers in headers_of.values():
        names |= dict.fromkeys(headers)
    return list(names)


def _steps(headers: Headers, action: str) -> int:
    return headers[action].shape[0] if headers[action].shape else 0
