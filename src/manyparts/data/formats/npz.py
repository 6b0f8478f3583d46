"""A plain folder of `.npz` files, an episode each, in the order of their names; read in place.

Arrays have a row per step: `action` or `actions`; images (uint8, (T, h, w, 3)) and numbers, which
are observations; and optionally `expert_action`, `reward`, `success`, `done`. Observations may have
one row more, which no action follows. A text such as `instruction`, `language_instruction` or
`instruction` asks for the task.
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
    action_of,
    episode_files,
    many_episodes,
    mark_names,
    read_arrays,
    read_headers,
    read_of_some,
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

_OTHERS = {
    REWARD: ("reward", "rewards"),
    SUCCESS: ("success", "is_success"),
    DONE: ("done", "dones", "terminals"),
}
_EXPERT = "expert_action"
_FPS = 20.0  # nothing tells


class NpzReader:
    """See `formats.reader.Reader`. complain: is told of each file that is torn, or not like most.
    Raises UserError where the files are no episodes."""

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        self.path = path
        heads = _heads(path, complain)
        action = action_of(heads.values())
        if action is None:
            file, head = next(iter(heads.items()))
            raise UnsupportedFormatError(
                f"{file} has no array named {' or '.join(ACTIONS)}; it has {', '.join(list(head)[:8])}",
                "write all numbers of the action side by side as one array named action, (T, a)",
            )
        self._action = action
        strangers = {
            file.stem: f"no array named {action}"
            for file, head in heads.items()
            if action not in head
        }
        heads = {file: head for file, head in heads.items() if action in head}
        require_episodes(heads, action)
        self._files = list(heads)
        self._texts = [
            name for name in instruction_names(_names(heads)) if self._holds_text(name, heads)
        ]
        layouts = [self._look(head) for head in heads.values()]
        self._entries, left_out = arrays.majority_layout(layouts)
        self._named = {
            key: next(name for name in names if name in self._entries)
            for key, names in _OTHERS.items()
            if any(name in self._entries for name in names)
        }
        self._actions = {ACTION: action}
        if _EXPERT in self._entries and self._is_like_action(_EXPERT):
            self._actions[EXPERT_ACTION] = _EXPERT
        self._plan = self._make_plan(heads, left_out)
        self.contents = self._describe(heads, layouts, strangers, complain)

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
        return [*self._plan.state, *self._actions.values(), *self._named.values()]

    def _columns(self, stored: Mapping[str, np.ndarray], file: Path) -> dict[str, np.ndarray]:
        length = len(stored[self._action])
        values = {name: stored[name][:length] for name in self._column_names}
        columns = {STATE: self._plan.state_of(values, length)}
        for name, key in self._actions.items():
            columns[name] = values[key].astype(np.float32).reshape(length, -1)
        return columns | {
            name: arrays.one_per_step(values[key], length, f"{file}: {key}")
            for name, key in self._named.items()
        }

    def _make_plan(self, heads: Mapping[Path, Headers], left_out: Mapping[str, str]) -> arrays.Plan:
        """Raises UserError where most files' actions are no numbers."""
        action = self._entries.get(self._action)
        if action is None or action.dtype.kind not in "biuf":
            raise UserError(
                f"{self._files[0]}: {self._action} {left_out.get(self._action, 'holds no numbers')}"
            )
        if len(action.shape) > 1:
            where = f"{self._files[0]}: {self._action} has shape (T, {', '.join(map(str, action.shape))})"
            raise UnsupportedFormatError(where, "write actions (T, a), with one .npz per episode")
        per_step = {*self._actions.values(), *self._named.values()}
        reasons = dict(left_out)
        for name in self._entries.keys() - per_step:
            if why := self._why_not(name, heads):
                reasons[name] = why
        observations = self._entries.keys() - per_step - reasons.keys()
        entries = {name: self._entries[name] for name in observations}
        return arrays.plan(
            entries, reasons, lambda name: (values for _, values in read_of_some(heads, name))
        )

    def _why_not(self, name: str, heads: Mapping[Path, Headers]) -> str:
        """Why an array with a row per step is no observation, apart from what holds for all
        formats."""
        entry = self._entries[name]
        if name == _EXPERT:
            return f"{entry.dtype} {entry.shape}, unlike {self._action}"
        for key, names in _OTHERS.items():
            if name in names and key in self._named:
                return f"beside {self._named[key]}, which is read"
        one_per_step = entry.shape in ((), (1,)) and entry.dtype.kind in NUMBERS
        if one_per_step and (
            why := why_episode_mark(name, (values for _, values in read_of_some(heads, name)))
        ):
            return why
        coded = (
            self._encoding(name, heads)
            if entry.dtype == np.uint8 and len(entry.shape) == 1
            else None
        )
        return f"bytes of a {coded} image" if coded else ""

    def _is_like_action(self, name: str) -> bool:
        action = self._entries.get(self._action)
        return action is not None and self._entries[name].kind == action.kind

    def _describe(
        self,
        heads: Mapping[Path, Headers],
        layouts: Sequence[EpisodeArrays],
        strangers: Mapping[str, str],
        complain: Complain,
    ) -> Contents:
        cameras = [name for name, _, _ in self._plan.cameras.values()]
        wanted = {name: self._entries[name] for name in [*self._column_names, *cameras]}
        lengths, asked, succeeded = {}, {}, {}

        def read(number: int) -> dict[str, np.ndarray]:
            file, head = self._files[number], heads[self._files[number]]
            if why := layouts[number].difference_from(wanted):
                raise UserError(f"{file}: {why}")
            texts_there = [name for name in self._texts if name in head]
            stored = read_arrays(
                file, dict.fromkeys([*mark_names(head), *self._column_names, *texts_there])
            )
            if marks := marked_episodes(stored, rows_of(head)):
                raise UserError(many_episodes(file, marks).what)
            columns = self._columns(stored, file)
            asked[number] = self._asked(stored, len(columns[ACTION]))
            lengths[number] = len(columns[ACTION])
            succeeded[number] = SUCCESS in columns and bool(columns[SUCCESS].any())
            return columns

        names = [file.stem for file in self._files]
        sound, statistics = arrays.collect_episodes(
            names, read, self.path, complain, self._plan.state_names
        )
        self._files = [self._files[number] for number in sound]
        name = self.path.absolute().name
        tasks, episode_task = arrays.tasks_of([(asked[number] or [name])[0] for number in sound])
        return Contents(
            format="folder of .npz",
            spec=arrays.spec_of(self._plan, statistics, embodiment=name, named=False, fps=_FPS),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray([lengths[number] for number in sound], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images="raw" if self._plan.cameras else "none",
            succeeded=np.asarray([succeeded[number] for number in sound])
            if SUCCESS in self._named
            else None,
            left_out=self._plan.left_out,
            episodes_left_out=strangers,
            episode_names=tuple(names[number] for number in sound),
            notes=(
                *arrays.extra_row_note(
                    [name for name, entry in wanted.items() if entry.extra_rows], self._action
                ),
                *splits_note(self._files),
                *changing_note(sum(len(asked[number]) > 1 for number in sound)),
            ),
        )

    def _look(self, head: Headers) -> EpisodeArrays:
        """The arrays without their first axis; those that have no row per step are no part of
        it."""
        steps, entries, faults = _steps(head, self._action), {}, {}
        for name, entry in head.items():
            if name in self._texts:
                continue
            more = entry.shape[0] - steps if entry.shape else -1
            if entry.dtype.hasobject:
                faults[name] = "holds Python objects, which are not read"
            elif not steps:
                faults[name] = "has no rows"
            elif more in (0, 1):
                entries[name] = ArrayInfo(entry.shape[1:], entry.dtype, more)
            else:
                faults[name] = f"has shape {entry.shape}, no row for each of the {steps} steps"
        return EpisodeArrays(entries, faults)

    def _asked(self, stored: Mapping[str, np.ndarray], steps: int) -> list[str]:
        return distinct_texts(
            self._text_of(stored[name], steps) or [] for name in self._texts if name in stored
        )

    def _holds_text(self, name: str, heads: Mapping[Path, Headers]) -> bool:
        """Whether an array with the name of an instruction is one, and no numbers."""
        per_file = []
        for file, values in read_of_some(heads, name):
            said = self._text_of(values, _steps(heads[file], self._action))
            if said is None:
                return False
            per_file.append(values.dtype.kind in "SU" or any(said))
        return any(per_file)

    def _text_of(self, values: np.ndarray, steps: int) -> list[str] | None:
        """Strings, character codes, or the number of a task."""
        if values.dtype.kind not in "SU" and (
            not values.ndim or (values.ndim == 1 and len(values) == steps)
        ):
            return [str(values.ravel()[0])] if values.size and values.dtype.kind in "biu" else None
        return decode_texts(values)

    def _encoding(self, name: str, heads: Mapping[Path, Headers]) -> str | None:
        encodings = [encoding_of(rows[0]) for _, rows in read_of_some(heads, name) if len(rows)]
        return next(filter(None, encodings), None)


def _heads(path: Path, complain: Complain) -> dict[Path, Headers]:
    heads: dict[Path, Headers] = {}
    first = ""
    for file in episode_files(path):
        try:
            heads[file] = read_headers(file)
        except UserError as error:
            first = first or str(error)
            complain(str(error), file.stem)
    if not heads:
        raise UserError(first or f"{path} holds no .npz files")
    return heads


def _names(heads: Mapping[Path, Headers]) -> list[str]:
    return list(dict.fromkeys(name for head in heads.values() for name in head))


def _steps(head: Headers, action: str) -> int:
    return head[action].shape[0] if head[action].shape else 0
