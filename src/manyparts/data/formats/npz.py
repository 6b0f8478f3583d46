"""A plain folder of `.npz` files, an episode each, in the order of their names; read in place.

Arrays have a row a step: `action` or `actions`; pictures (uint8, (T, h, w, 3)) and numbers, which are observations; and
optionally `expert_action`, `reward`, `success`, `done`. A text `sentence`, `language_instruction` or `task` asks for
the task.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import Entry
from manyparts.data.formats.errors import one_line
from manyparts.data.formats.reader import ACTION, DONE, EXPERT_ACTION, REWARD, STATE, SUCCESS, Contents
from manyparts.types import UserError

_ACTIONS = ("action", "actions")
_SENTENCES = ("sentence", "language_instruction", "task")
_OTHERS = {REWARD: ("reward", "rewards"), SUCCESS: ("success", "is_success"), DONE: ("done", "dones", "terminals")}
_FPS = 20.0  # nothing tells
_ARRAY_BYTES = 4 * 2**30
_TORN = (OSError, ValueError, EOFError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error)


class NpzReader:
    """See `formats.reader.Reader`. Raises UserError naming the file that is torn, or not like the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = sorted(path.glob("*.npz"))
        heads = [_head(file) for file in self._files]
        actions = next((name for name in _ACTIONS if name in heads[0]), None)
        if actions is None:
            raise UserError(
                f"{self._files[0]} has no array named {' or '.join(_ACTIONS)}; it has {', '.join(heads[0])}"
            )
        self._action = actions
        self._named = {name: key for name, keys in _OTHERS.items() for key in keys if key in heads[0]}
        self._sentence = next((name for name in _SENTENCES if name in heads[0]), None)
        told = {self._action, self._sentence, EXPERT_ACTION, *self._named.values()}
        lengths, entries = zip(
            *(self._look(file, head) for file, head in zip(self._files, heads, strict=True)), strict=True
        )
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._plan = arrays.plan({name: entry for name, entry in entries[0].items() if name not in told})
        arrays.same_for_all(entries[0], lambda index: entries[index], len(entries), path)
        self._has_expert, self._left_out = False, dict(self._plan.left_out)
        if EXPERT_ACTION in entries[0]:
            why = arrays.unlike_action(entries[0][EXPERT_ACTION], entries[0][self._action])
            self._has_expert = why is None
            self._left_out |= {} if why is None else {EXPERT_ACTION: why}
        self.contents = self._describe()

    def columns(self, index: int) -> dict[str, np.ndarray]:
        expert = [EXPERT_ACTION] if self._has_expert else []
        found = self._read(index, [*self._plan.state, self._action, *expert, *self._named.values()])
        length = int(self._lengths[index])
        columns = {
            STATE: self._plan.state_of(found, length),
            ACTION: found[self._action].astype(np.float32).reshape(length, -1),
        }
        columns |= {name: found[name].astype(np.float32).reshape(length, -1) for name in expert}
        where = self._files[index]
        return columns | {
            name: arrays.one_a_step(found[key], length, f"{where}: {key}") for name, key in self._named.items()
        }

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, _, _ = self._plan.cameras[camera]
        return arrays.colour(self._read(index, [name])[name][rows])

    def files(self) -> Sequence[Path]:
        return self._files

    def _describe(self) -> Contents:
        count = len(self._files)
        statistics = arrays.gather_statistics(map(self.columns, range(count)), self.path)
        asked = [self._asked(index) for index in range(count)]
        tasks, episode_task = arrays.tasks_of(asked)
        success = SUCCESS in self._named
        return Contents(
            format="folder of .npz",
            spec=arrays.spec_of(self._plan, statistics, embodiment=self.path.name, fps=_FPS),
            fps=_FPS,
            tasks=tasks,
            lengths=self._lengths,
            episode_task=episode_task,
            statistics=statistics,
            images="raw" if self._plan.cameras else "none",
            succeeded=np.asarray([self.columns(index)[SUCCESS].any() for index in range(count)]) if success else None,
            left_out=self._left_out,
        )

    def _asked(self, index: int) -> str:
        if self._sentence is None:
            return self.path.name
        text = np.ravel(self._read(index, [self._sentence])[self._sentence])
        value = text[0] if len(text) else ""
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def _look(self, file: Path, head: Mapping[str, Entry]) -> tuple[int, dict[str, Entry]]:
        """Steps of an episode, and its arrays without the first axis."""
        if self._action not in head or not head[self._action].shape or head[self._action].shape[0] < 1:
            raise UserError(f"{file} has no steps: no {self._action}, or an empty one")
        length = head[self._action].shape[0]
        rows = {name: entry for name, entry in head.items() if name != self._sentence}
        for name, entry in rows.items():
            if not entry.shape or entry.shape[0] != length:
                raise UserError(f"{file}: {name} has shape {entry.shape}, {self._action} {length} steps")
        return length, {name: Entry(entry.shape[1:], entry.dtype) for name, entry in rows.items()}

    def _read(self, index: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        file = self._files[index]
        try:
            with np.load(file, allow_pickle=False) as opened:
                return {name: opened[name] for name in names}
        except (*_TORN, KeyError) as error:
            raise UserError(f"{file} cannot be read as .npz: {one_line(error)}") from error


def _head(file: Path) -> dict[str, Entry]:
    """The arrays' shapes and dtypes, without reading them. Objects and arrays too large to read are refused."""
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as content:
                    version = np.lib.format.read_magic(content)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(content)
                if dtype.hasobject:
                    raise UserError(f"{file}: {name} holds objects, which are not read")
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if size > _ARRAY_BYTES or size > member.file_size:
                    raise UserError(f"{file}: {name} claims {size} bytes; the file holds {member.file_size}")
                found[name] = Entry(tuple(shape), dtype)
    except UserError:
        raise
    except _TORN as error:
        raise UserError(f"{file} cannot be read as .npz: {one_line(error)}") from error
    return found
