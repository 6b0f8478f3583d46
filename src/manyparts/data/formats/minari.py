"""Read Minari's datasets (HDF5, Arrow or Parquet storage).

An episode there has one observation more than actions; the last one is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.columns import (
    ACTION,
    DONE,
    EXPERT_ACTION,
    REWARD,
    STATE,
    SUCCESS,
    TERMINATED,
)
from manyparts.core.errors import UserError
from manyparts.core.naming import own_entry
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import StatisticsCollector
from manyparts.data.formats.dataset_description import DatasetDescription
from manyparts.data.formats.encoded_images import decode_images
from manyparts.data.formats.errors import (
    Complain,
    UnsupportedFormatError,
    format_errors,
    refuse,
)
from manyparts.data.formats.files import files_below
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.minari_metadata import (
    MAIN,
    MinariFolder,
    is_minari,
    open_folder,
    require_spaces,
)
from manyparts.data.formats.minari_spaces import Space, require_shapes
from manyparts.data.formats.minari_storage import METADATA
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.texts import changing_note, distinct_texts, instruction_names
from manyparts.embodiment.statistics import sample_rows

__all__ = ["MAIN", "MinariReader", "is_minari"]

_FPS = 20.0  # Minari stores no rate
_PER_STEP = ("rewards", "terminations", "truncations")
_SUCCESS, _EXPERT = "infos/success", "infos/expert_action"
_MAX_SEED = np.iinfo(np.int64).max
_MAX_SHOWN = 5
_SAMPLE_EPISODES = 32  # episodes with the values that decide what is no state


class _InvalidChoiceError(UserError):
    """An episode has actions that are none of their space's choices."""


@dataclass
class _Survey:
    """What one pass over all episodes collects, by their numbers."""

    instructions: dict[int, list[str]] = field(default_factory=dict)
    """The different instructions of each episode."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Steps of each episode that is read."""
    succeeded: dict[int, bool] = field(default_factory=dict)
    """Whether an episode succeeded, where the dataset says so."""
    terminated: dict[int, bool] = field(default_factory=dict)
    """Whether an episode ended for good, where the dataset says so."""
    labels: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """Seed and task of each episode, where it has them."""
    unreadable: dict[int, str] = field(default_factory=dict)
    """Episodes that are not read, and why."""
    collector: StatisticsCollector = field(default_factory=StatisticsCollector)
    """Statistics of the episodes that are read."""


class MinariReader:
    """See `formats.reader.Reader`."""

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        """Read the description of a dataset, and all its numbers once.

        Args:
            path: the folder of the dataset, or its `data`.
            complain: called for each episode that is torn, or not as the spaces say.

        Raises:
            UserError: naming what is missing or torn.
        """
        self.path = path
        opened = open_folder(path)
        self._folder, metadata = opened.folder, opened.metadata
        with format_errors(opened.file, "Minari"):
            require_spaces(opened)
            self._observed = dict(Space.read(metadata["observation_space"], opened.file).leaves())
            self._action_space = Space.read(metadata["action_space"], opened.file)
            self._action_parts = {
                name: space
                for name, space in self._action_space.leaves()
                if not space.why_no_numbers
            }
            if not self._action_parts:
                raise UserError(
                    f"{opened.file} has actions that are no numbers: {self._action_space.kind}"
                )
            self._storage = opened.open_storage()
            self._description = DatasetDescription.read(own_entry(metadata) or {}, opened.file)
            self._numbers = self._episode_numbers(opened, complain)
            infos = {
                name: ArrayInfo(space.shape, space.dtype)
                for name, space in self._observed.items()
                if not space.why_no_numbers
            }
            self._plan = arrays.plan(infos, values_of=self._values_of)
            survey = self._survey(self._numbers)
            for number, why in survey.unreadable.items():
                complain(why, str(number))
            self._numbers = [number for number in self._numbers if number in survey.lengths]
            if not self._numbers:
                why = next(iter(survey.unreadable.values()))
                raise UserError(f"{self._folder} has no episode that can be read: {why}")
            self.contents = self._describe(opened, survey)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        return self._columns(self._numbers[index])[1]

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, height, width = self._plan.cameras[camera]
        number, key = self._numbers[index], f"observations{_slash(name)}"
        where = f"{self._storage.path}: episode {number}"
        stored = self._storage.images(number, key, rows)
        if isinstance(stored, list):
            return decode_images(stored, rows, f"{where}, {key}")
        if stored.size % (len(rows) * height * width):
            raise UserError(f"{where} has {key} of {stored.shape[1:]}, not {(height, width)}")
        return arrays.colour(stored.reshape(len(rows), height, width, -1))

    def files(self) -> Iterator[Path]:
        return files_below(self._folder)

    def _episode_numbers(self, opened: MinariFolder, complain: Complain) -> list[int]:
        """The numbers of the stored episodes."""
        counted, name = int(opened.metadata["total_episodes"]), opened.file.name
        numbers = self._storage.episode_numbers()
        if not numbers:
            raise UserError(f"{self._storage.path} holds no episodes; {name} counts {counted}")
        if len(numbers) != counted:
            stored = set(numbers)
            missing = [number for number in range(counted) if number not in stored]
            gap = f"; episode {missing[0]} is missing" if missing else ""
            complain(
                f"{self._storage.path} has {len(numbers)} episodes, {name} counts {counted}{gap}"
            )
        return numbers

    def _survey(self, numbers: Sequence[int]) -> _Survey:
        """Read all episodes once."""
        survey = _Survey()
        tasks = self._description.task_numbers() if self._description else {}
        instruction, any_invalid = self._instruction_name(), False
        for number in numbers:
            where = f"{self._storage.path}: episode {number}"
            try:
                length, columns = self._columns(number)
                labels = self._storage.labels(number)
                if self._description and str(labels.get("task")) not in tasks:
                    raise UserError(f"{where} has no task of this dataset")
                texts: list[str] = []
                if instruction:
                    texts = self._storage.texts(number, f"observations/{instruction}")[:length]
                survey.collector.add(columns, where, self._plan.state_names)
            except UserError as error:
                survey.unreadable[number] = str(error)
                any_invalid = any_invalid or isinstance(error, _InvalidChoiceError)
                continue
            survey.lengths[number], survey.labels[number] = length, labels
            survey.instructions[number] = distinct_texts([texts])
            if SUCCESS in columns:
                survey.succeeded[number] = bool(columns[SUCCESS].any())
            if TERMINATED in columns:
                survey.terminated[number] = bool(columns[TERMINATED][-1])
        if any_invalid:
            self._require_starts(numbers)
        return survey

    def _require_starts(self, numbers: Sequence[int]) -> None:
        """Raise UnsupportedFormatError if choices fit their space only when counted from 0.

        Then the space states a wrong start, and episodes that seem to fit it are wrong, too.
        """
        for name, space in self._action_parts.items():
            key, stored = f"actions{_slash(name)}", []
            for number in numbers if space.start.any() else ():
                with suppress(UserError):
                    length, values = self._storage.arrays(number, [key], (), ())
                    stored.append(values[key][:length])
            rows = [
                values.reshape(len(values), -1)
                for values in stored
                if values.size == len(values) * space.numbers
            ]
            from_zero = np.zeros_like(space.start)
            if rows and not space.why_invalid(np.concatenate(rows), start=from_zero):
                first = ", ".join(map(str, np.ravel(space.start)))
                raise UnsupportedFormatError(
                    f"{self._storage.path}: {key} begin at 0, "
                    f"but their space says that they begin at {first}",
                    f"write start 0 into action_space of {METADATA}, "
                    "if choices were counted from 0",
                )

    def _columns(self, number: int) -> tuple[int, dict[str, np.ndarray]]:
        """The steps of an episode and its columns. Raises UserError if something is wrong."""
        where = f"{self._storage.path}: episode {number}"
        observed = {
            f"observations{_slash(name)}": self._observed[name] for name in self._plan.state
        }
        actions = {f"actions{_slash(name)}": space for name, space in self._action_parts.items()}
        optional = (_SUCCESS, _EXPERT) if self._description else (_SUCCESS,)
        images = [f"observations{_slash(name)}" for name, _, _ in self._plan.cameras.values()]
        length, stored = self._storage.arrays(
            number, [*observed, *actions, *_PER_STEP], optional, images
        )
        if length < 1:
            raise UserError(f"{where} has no steps")
        with format_errors(where, "Minari"):
            require_shapes(stored, observed | actions, where)
            for name, space in actions.items():
                if why := space.why_invalid(stored[name][:length]):
                    raise _InvalidChoiceError(
                        f"{where} has {name} that do not fit their space: {why}"
                    )
            state = {
                name: stored[f"observations{_slash(name)}"][:length] for name in self._plan.state
            }
            parts = [space.from_zero(stored[name][:length]) for name, space in actions.items()]
            rewards, terminated, truncated = (
                arrays.one_per_step(stored[key][:length], length, f"{where}: {key}")
                for key in _PER_STEP
            )
            columns = {
                STATE: self._plan.state_of(state, length),
                ACTION: np.concatenate(parts, axis=1),
                DONE: terminated.astype(bool) | truncated.astype(bool),
            }
            if self._description is None or self._description.knows_reward:
                columns[REWARD] = rewards
            # Our terminations may only mean success, see `MinariWriter`; then they are no column.
            if self._description is None or self._description.terminates:
                columns[TERMINATED] = terminated.astype(bool)
            # Infos may have one row more than steps, that of the reset: it is the first.
            if arrays.has_one_per_step(stored.get(_SUCCESS), length):
                columns[SUCCESS] = stored[_SUCCESS][-length:].reshape(length).astype(bool)
            if _EXPERT in stored:
                columns[EXPERT_ACTION] = stored[_EXPERT][-length:].reshape(length, -1)
        return length, columns

    def _values_of(self, name: str) -> Iterator[np.ndarray]:
        """The values of an observation in some readable episodes; none of choices, which are no
        codes of text."""
        if self._observed[name].holds_choices:
            return
        key = f"observations{_slash(name)}"
        for index in sample_rows(len(self._numbers), _SAMPLE_EPISODES):
            with suppress(UserError):
                _, stored = self._storage.arrays(self._numbers[index], [key], (), ())
                yield stored[key]

    def _instruction_name(self) -> str:
        """The observation that holds an instruction, such as MiniGrid's mission; "" if none."""
        if self._description:
            return ""
        texts = [name for name, space in self._observed.items() if space.kind == "Text"]
        missions = [name for name in texts if name.rpartition("/")[2] == "mission"]
        return next(iter((*missions, *instruction_names(texts))), "")

    def _left_out(self, *, with_success: bool) -> dict[str, str]:
        """What of each step is not read, and why. with_success: infos/success is read."""
        left_out = {name or "observations": why for name, why in self._plan.left_out.items()}
        spaces = {name or "observations": space for name, space in self._observed.items()}
        spaces |= {f"actions{_slash(name)}": space for name, space in self._action_space.leaves()}
        for name, space in spaces.items():
            if space.why_no_numbers:
                left_out[name] = space.why_no_numbers
        if instruction := self._instruction_name():
            left_out[instruction] = "text; an episode's first is its instruction"
        infos = self._storage.infos(self._numbers[0]) if not self._description else []
        infos = [name for name in infos if name != "success" or not with_success]
        if infos:
            more = " and more" if len(infos) > _MAX_SHOWN else ""
            left_out["infos"] = ", ".join(infos[:_MAX_SHOWN]) + more
        return left_out

    def _stored_images(self) -> str:
        """How the first episode stores its images."""
        if not self._plan.cameras:
            return "none"
        name, _, _ = next(iter(self._plan.cameras.values()))
        key, first_row = f"observations{_slash(name)}", np.zeros(1, np.int64)
        try:
            stored = self._storage.images(self._numbers[0], key, first_row)
        except UserError:
            return "raw"
        return "jpeg" if isinstance(stored, list) else "raw"

    def _describe(self, opened: MinariFolder, survey: _Survey) -> Contents:
        contents = self._describe_other_program(opened, survey)
        if not self._description:
            return contents
        task_numbers = self._description.task_numbers()
        labels = [survey.labels[number] for number in self._numbers]
        return replace(
            contents,
            spec=self._plan.require(self._description.spec, self._folder),
            fps=self._description.fps,
            tasks=self._description.tasks,
            episode_task=np.asarray([task_numbers[each["task"]] for each in labels]),
            environment=self._description.environment,
            notes=(),
        )

    def _describe_other_program(self, opened: MinariFolder, survey: _Survey) -> Contents:
        """The description of a dataset as if another program had written it."""
        numbers, metadata = self._numbers, opened.metadata
        name = str(metadata.get("dataset_id") or self.path.name)
        description = metadata.get("description")
        statistics = survey.collector.finish(self._folder)
        succeeded = [survey.succeeded.get(number) for number in numbers]
        terminated = [survey.terminated.get(number) for number in numbers]
        seeds = [_seed(survey.labels[number].get("seed")) for number in numbers]
        texts = [survey.instructions[number] for number in numbers]
        instructions = [next(iter(of_episode), "") for of_episode in texts]
        tasks, episode_task = arrays.tasks_of(
            [text or str(description or name) for text in instructions]
        )
        are_counted = numbers == list(range(len(numbers)))
        choices = self._action_space.choices
        return Contents(
            format=f"Minari ({opened.kind})",
            spec=arrays.spec_of(
                self._plan,
                statistics,
                embodiment=name.rpartition("/")[0] or name,
                named=bool(metadata.get("dataset_id")),
                fps=_FPS,
                bounds=self._action_space.bounds(),
                choices=tuple(f"choice_{number}" for number in range(choices)),
            ),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray([survey.lengths[number] for number in numbers], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images=self._stored_images(),
            seeds=np.asarray(seeds, dtype=np.int64),
            succeeded=None if None in succeeded else np.asarray(succeeded),
            terminated=None if None in terminated else np.asarray(terminated),
            left_out=self._left_out(with_success=bool(survey.succeeded)),
            episodes_left_out={str(number): why for number, why in survey.unreadable.items()},
            episode_names=() if are_counted else tuple(map(str, numbers)),
            notes=(
                *self._notes(name, str(description or ""), has_all=all(instructions)),
                *changing_note(sum(len(of_episode) > 1 for of_episode in texts)),
            ),
        )

    def _notes(self, name: str, description: str, *, has_all: bool) -> Iterator[str]:
        """Notes for users. has_all: every episode has an instruction."""
        if not has_all:
            what = f"the dataset's name is used, {name!r}"
            if description:
                what = "the dataset's description is used"
            yield f"there is no instruction: {what}"
        parts = self._action_parts.values()
        if not self._action_space.choices and any(space.holds_choices for space in parts):
            yield (
                "actions hold choices among several numbers: "
                "an agent's are not rounded to one of them"
            )


def _seed(value: Any) -> int:
    """The seed; -1 if unknown or of more than 63 bits, as half of those that Minari draws are."""
    is_valid = isinstance(value, int | np.integer) and 0 <= value <= _MAX_SEED
    return int(value) if is_valid else -1


def _slash(name: str) -> str:
    return f"/{name}" if name else ""
