"""Minari's datasets (HDF5, Arrow or Parquet storage), read in place.

An episode there has one observation more than actions; the last one is not read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.columns import ACTION, DONE, EXPERT_ACTION, REWARD, STATE, SUCCESS
from manyparts.core.errors import UserError
from manyparts.core.naming import NAMES, own_entry
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import StatisticsCollector
from manyparts.data.formats.dataset_description import DatasetDescription
from manyparts.data.formats.encoded_images import decode_images
from manyparts.data.formats.errors import (
    Complain,
    UnsupportedFormatError,
    format_errors,
    read_json,
    refuse,
)
from manyparts.data.formats.files import files_below
from manyparts.data.formats.hdf5 import Hdf5File, open_hdf5
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.minari_spaces import Space
from manyparts.data.formats.minari_storage import METADATA, ArrowStorage, Hdf5Storage, Storage
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.texts import changing_note, distinct_texts, instruction_names
from manyparts.embodiment.statistics import sample_rows

MAIN = "main_data.hdf5"
_FPS = 20.0  # Minari stores no rate
_STEPS = ("rewards", "terminations", "truncations")
_SUCCESS, _EXPERT = "infos/success", "infos/expert_action"
_SPACES = ("observation_space", "action_space")
_OLD = ("total_episodes", *_SPACES, "dataset_id", "description", *NAMES)
_LARGEST_SEED = np.iinfo(np.int64).max
_SHOWN = 5
_LOOKED_AT = 32  # episodes whose values decide what is no state


class _InvalidChoiceError(UserError):
    """An episode whose choices are none of their space's."""


@dataclass
class _Survey:
    """What one pass over all episodes finds, by their numbers. spoilt: why an episode is not
    read."""

    instructions: dict[int, list[str]] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    succeeded: dict[int, bool] = field(default_factory=dict)
    labels: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    spoilt: dict[int, str] = field(default_factory=dict)
    gathering: StatisticsCollector = field(default_factory=StatisticsCollector)


def is_minari(path: Path) -> bool:
    """Whether a folder is a Minari dataset, or its `data`."""
    return any(
        (folder / MAIN).is_file()
        or ((folder / METADATA).is_file() and "data_format" in read_json(folder / METADATA))
        for folder in (path, path / "data")
    )


class MinariReader:
    """See `formats.reader.Reader`. path: the folder of the dataset, or its `data`. Raises UserError
    naming what is missing or torn; an episode that is torn, or is not as the spaces say, is
    complained of."""

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        self.path = path
        inner = path / "data"
        self._folder = inner if (inner / METADATA).is_file() or (inner / MAIN).is_file() else path
        where = self._folder / METADATA
        old = None if where.is_file() else open_hdf5(self._folder / MAIN)
        where = old.path if old else where
        metadata = _attributes(old) if old else read_json(where)
        with format_errors(where, "Minari"):
            _require_spaces(metadata, where, is_old=old is not None)
            self._observed = dict(Space.read(metadata["observation_space"], where).leaves())
            acted = Space.read(metadata["action_space"], where)
            self._acted = {
                name: space for name, space in acted.leaves() if not space.why_no_numbers
            }
            if not self._acted:
                raise UserError(f"{where} has actions that are no numbers: {acted.kind}")
            kind = str(metadata.get("data_format", "hdf5"))
            self._storage = self._open_storage(kind, old)
            self._ours = DatasetDescription.read(own_entry(metadata) or {}, where)
            self._numbers = self._count(int(metadata["total_episodes"]), where, complain)
            entries = {
                name: ArrayInfo(s.shape, s.dtype)
                for name, s in self._observed.items()
                if not s.why_no_numbers
            }
            self._plan = arrays.plan(entries, values_of=self._values_of)
            survey = self._look_at_all(self._numbers)
            for number, why in survey.spoilt.items():
                complain(why, str(number))
            self._numbers = [number for number in self._numbers if number in survey.lengths]
            if not self._numbers:
                raise UserError(
                    f"{self._folder} has no episode that can be read: {next(iter(survey.spoilt.values()))}"
                )
            self._lengths = np.asarray(
                [survey.lengths[number] for number in self._numbers], dtype=np.int64
            )
            left_out = self._left_out(acted, with_success=bool(survey.succeeded))
            self.contents = self._describe(metadata, kind, survey, acted, left_out)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        return self._columns(self._numbers[index])[1]

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, height, width = self._plan.cameras[camera]
        key, where = (
            f"observations{_slash(name)}",
            f"{self._storage.path}: episode {self._numbers[index]}",
        )
        stored = self._storage.pictures(self._numbers[index], key, rows)
        if isinstance(stored, list):
            return decode_images(stored, rows, f"{where}, {key}")
        if stored.size % (len(rows) * height * width):
            raise UserError(f"{where} has {key} of {stored.shape[1:]}, not {(height, width)}")
        return arrays.colour(stored.reshape(len(rows), height, width, -1))

    def files(self) -> Iterator[Path]:
        return files_below(self._folder)

    def _open_storage(self, kind: str, old: Hdf5File | None) -> Storage:
        if kind not in ("hdf5", "arrow", "parquet"):
            raise UserError(
                f"{self._folder} has data_format {kind!r}; can be read: hdf5, arrow, parquet"
            )
        if kind == "hdf5":
            return Hdf5Storage(old or open_hdf5(self._folder / MAIN))
        return ArrowStorage(self._folder, kind)

    def _count(self, counted: int, where: Path, complain: Complain) -> list[int]:
        """The numbers of the episodes that are there."""
        numbers = self._storage.episode_numbers()
        if not numbers:
            raise UserError(
                f"{self._storage.path} holds no episodes; {where.name} counts {counted}"
            )
        if len(numbers) != counted:
            missing = next(
                (number for number in range(counted) if number not in set(numbers)), None
            )
            what = "" if missing is None else f"; episode {missing} is missing"
            complain(
                f"{self._storage.path} has {len(numbers)} episodes, {where.name} counts {counted}{what}"
            )
        return numbers

    def _look_at_all(self, numbers: Sequence[int]) -> _Survey:
        survey, tasks = _Survey(), self._ours.task_numbers() if self._ours else {}
        asking, unfit = self._asking(), False
        for number in numbers:
            try:
                length, columns = self._columns(number)
                labels = self._storage.labels(number)
                if self._ours and str(labels.get("task")) not in tasks:
                    raise UserError(
                        f"{self._storage.path}: episode {number} has no task of this dataset"
                    )
                said = (
                    self._storage.texts(number, f"observations/{asking}")[:length] if asking else []
                )
                survey.gathering.add(
                    columns, f"{self._storage.path}: episode {number}", self._plan.state_names
                )
            except UserError as error:
                survey.spoilt[number] = str(error)
                unfit = unfit or isinstance(error, _InvalidChoiceError)
                continue
            survey.lengths[number], survey.labels[number] = length, labels
            survey.instructions[number] = distinct_texts([said])
            if SUCCESS in columns:
                survey.succeeded[number] = bool(columns[SUCCESS].any())
        if unfit:
            self._require_starts(numbers)
        return survey

    def _require_starts(self, numbers: Sequence[int]) -> None:
        """Raises UserError where all choices fit their space only if they are counted from 0: then
        those of episodes that seem to fit cannot be trusted either."""
        for name, space in self._acted.items():
            key, stored = f"actions{_slash(name)}", []
            for number in numbers if space.start.any() else ():
                with contextlib.suppress(UserError):
                    length, found = self._storage.arrays(number, [key], (), ())
                    stored.append(found[key][:length])
            sized = [
                each.reshape(len(each), -1)
                for each in stored
                if each.size == len(each) * space.numbers
            ]
            if sized and not space.unfit(np.concatenate(sized), start=np.zeros_like(space.start)):
                first = ", ".join(map(str, np.ravel(space.start)))
                raise UnsupportedFormatError(
                    f"{self._storage.path}: {key} begin at 0, but their space says that they begin at {first}",
                    f"write start 0 into action_space of {METADATA}, if choices were counted from 0",
                )

    def _columns(self, number: int) -> tuple[int, dict[str, np.ndarray]]:
        """The steps of an episode and its columns. Raises UserError if something is wrong with
        it."""
        where = f"{self._storage.path}: episode {number}"
        observed = {
            f"observations{_slash(name)}": self._observed[name] for name in self._plan.state
        }
        acted = {f"actions{_slash(name)}": space for name, space in self._acted.items()}
        also = (_SUCCESS, _EXPERT) if self._ours else (_SUCCESS,)
        shown = [f"observations{_slash(name)}" for name, _, _ in self._plan.cameras.values()]
        length, found = self._storage.arrays(number, [*observed, *acted, *_STEPS], also, shown)
        if length < 1:
            raise UserError(f"{where} has no steps")
        with format_errors(where, "Minari"):
            for name, space in (observed | acted).items():
                dtype, size = found[name].dtype, int(np.prod(found[name].shape[1:]))
                if size != space.numbers or dtype.kind not in "biuf":
                    raise UserError(
                        f"{where} has {name} of {dtype}, {size} a step; its space has {space.numbers}"
                    )
            for name, space in acted.items():
                if why := space.unfit(found[name][:length]):
                    raise _InvalidChoiceError(
                        f"{where} has {name} that do not fit their space: {why}"
                    )
            state = {
                name: found[f"observations{_slash(name)}"][:length] for name in self._plan.state
            }
            rewards, ended, cut = (
                arrays.one_per_step(found[key][:length], length, f"{where}: {key}")
                for key in _STEPS
            )
            columns = {
                STATE: self._plan.state_of(state, length),
                ACTION: np.concatenate(
                    [space.counted(found[name][:length]) for name, space in acted.items()], axis=1
                ),
                REWARD: rewards,
                DONE: ended.astype(bool) | cut.astype(bool),
            }
            if _of_steps(found.get(_SUCCESS), length):  # with or without one more, of the reset
                columns[SUCCESS] = found[_SUCCESS][-length:].reshape(length).astype(bool)
            if _EXPERT in found:
                columns[EXPERT_ACTION] = found[_EXPERT][-length:].reshape(length, -1)
        return length, columns

    def _values_of(self, name: str) -> Iterator[np.ndarray]:
        """The values of an observation in some sound episodes; of choices none, since they are no
        codes."""
        if self._observed[name].holds_choices:
            return
        key = f"observations{_slash(name)}"
        for place in sample_rows(len(self._numbers), _LOOKED_AT):
            with suppress(UserError):
                _, found = self._storage.arrays(self._numbers[place], [key], (), ())
                yield found[key]

    def _asking(self) -> str:
        """The observation that holds an instruction, as MiniGrid's mission; empty if there is
        none."""
        texts = [
            name
            for name, space in self._observed.items()
            if space.kind == "Text" and not self._ours
        ]
        missions = (name for name in texts if name.rpartition("/")[2] == "mission")
        return next(iter((*missions, *instruction_names(texts))), "")

    def _left_out(self, acted: Space, *, with_success: bool) -> dict[str, str]:
        """What of each step is not read. with_success: infos/success is."""
        left_out = {name or "observations": why for name, why in self._plan.left_out.items()}
        spaces = {name or "observations": space for name, space in self._observed.items()}
        spaces |= {f"actions{_slash(name)}": space for name, space in acted.leaves()}
        left_out |= {
            name: space.why_no_numbers for name, space in spaces.items() if space.why_no_numbers
        }
        if asking := self._asking():
            left_out[asking] = "text; an episode's first is its instruction"
        infos = self._storage.infos(self._numbers[0]) if not self._ours else []
        if infos := [name for name in infos if name != "success" or not with_success]:
            left_out["infos"] = ", ".join(infos[:_SHOWN]) + (
                " and more" if len(infos) > _SHOWN else ""
            )
        return left_out

    def _images(self) -> str:
        """How the first episode has them."""
        if not self._plan.cameras:
            return "none"
        name, _, _ = next(iter(self._plan.cameras.values()))
        try:
            stored = self._storage.pictures(
                self._numbers[0], f"observations{_slash(name)}", np.zeros(1, np.int64)
            )
        except UserError:
            return "raw"
        return "jpeg" if isinstance(stored, list) else "raw"

    def _describe(
        self,
        metadata: Mapping[str, Any],
        kind: str,
        survey: _Survey,
        acted: Space,
        left_out: Mapping[str, str],
    ) -> Contents:
        name = str(metadata.get("dataset_id") or self.path.name)
        statistics = survey.gathering.finish(self._folder)
        labels = [survey.labels[number] for number in self._numbers]
        whole = self._numbers == list(range(len(self._numbers)))
        succeeded = [survey.succeeded.get(number) for number in self._numbers]
        known: dict[str, Any] = {
            "format": f"Minari ({kind})",
            "lengths": self._lengths,
            "statistics": statistics,
            "images": self._images(),
            "seeds": np.asarray([_seed(each.get("seed")) for each in labels], dtype=np.int64),
            "succeeded": None if None in succeeded else np.asarray(succeeded),
            "left_out": left_out,
            "episodes_left_out": {str(number): why for number, why in survey.spoilt.items()},
            "episode_names": () if whole else tuple(map(str, self._numbers)),
        }
        if self._ours:
            numbers = self._ours.task_numbers()
            return Contents(
                spec=self._plan.require(self._ours.spec, self._folder),
                fps=self._ours.fps,
                tasks=self._ours.tasks,
                episode_task=np.asarray([numbers[each["task"]] for each in labels]),
                environment=self._ours.environment,
                **known,
            )
        said = [survey.instructions[number] for number in self._numbers]
        instructions = [next(iter(each), "") for each in said]
        description = metadata.get("description")
        tasks, episode_task = arrays.tasks_of(
            [text or str(description or name) for text in instructions]
        )
        origin = (
            "the dataset's description is used"
            if description
            else f"the dataset's name is used, {name!r}"
        )
        notes = [] if all(instructions) else [f"there is no instruction: {origin}"]
        if not acted.choices and any(space.holds_choices for space in self._acted.values()):
            notes.append(
                "actions hold choices among several numbers: an agent's are not rounded to one of them"
            )
        return Contents(
            spec=arrays.spec_of(
                self._plan,
                statistics,
                embodiment=name.rpartition("/")[0] or name,
                named=bool(metadata.get("dataset_id")),
                fps=_FPS,
                bounds=acted.bounds(),
                choices=tuple(f"choice_{number}" for number in range(acted.choices)),
            ),
            fps=_FPS,
            tasks=tasks,
            episode_task=episode_task,
            notes=(*notes, *changing_note(sum(len(each) > 1 for each in said))),
            **known,
        )


def _attributes(file: Hdf5File) -> dict[str, Any]:
    """What Minari wrote before 0.5 into the file itself."""
    root = file.group("")
    return {name: value for name in _OLD if (value := file.attribute(root, name)) is not None}


def _require_spaces(metadata: Mapping[str, Any], where: Path, *, is_old: bool) -> None:
    missing = [name for name in _SPACES if name not in metadata]
    if not missing:
        return
    if is_old:
        raise UserError(
            f"{where} is in Minari's layout before 0.5 (no {METADATA}) and does not say its {' and '.join(missing)}: "
            "download the dataset again with Minari 0.5 or newer (`minari download ID`)"
        )
    raise UserError(
        f"{where} does not say its {' and '.join(missing)}: add what minari.serialization.serialize_space gives for "
        "those of the environment"
    )


def _of_steps(values: np.ndarray | None, length: int) -> bool:
    """Whether there is one value a step, or one more."""
    return values is not None and values.size == len(values) and len(values) in (length, length + 1)


def _seed(value: Any) -> int:
    """-1 for one that is unknown, or takes more than 63 bits, as half of those that Minari draws
    itself."""
    known = isinstance(value, int | np.integer) and 0 <= value <= _LARGEST_SEED
    return int(value) if known else -1


def _slash(name: str) -> str:
    return f"/{name}" if name else ""
