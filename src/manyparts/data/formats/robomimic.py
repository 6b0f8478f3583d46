"""robomimic's HDF5: data/demo_N with actions, rewards, dones and obs/<key>; read in place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.naming import NAMES
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import UNKNOWN, Plan, StatisticsCollector
from manyparts.data.formats.dataset_description import DatasetDescription
from manyparts.data.formats.encoded_images import decode_images
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, format_errors, refuse
from manyparts.data.formats.hdf5 import Array, Group, Hdf5File, holds_bytes
from manyparts.data.formats.instructions import StoredInstruction, instruction_of, json_object
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.libero import bottom_first, instruction_from_name
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.robomimic_actions import ACTIONS, EXPERT_ACTIONS, RECORDED, as_recorded
from manyparts.data.formats.robomimic_demos import (
    PER_STEP,
    Demo,
    Kinds,
    first_names,
    notes_of_counts,
    open_demo,
    unlike,
)
from manyparts.data.formats.texts import changing_note
from manyparts.embodiment.statistics import sample_rows

_FPS = 20.0  # robosuite's control rate, where the file has none
_HIGHEST_FPS = 1e6
_KNOWN = {ACTIONS, *PER_STEP.values(), "states", "obs", "next_obs"}
_LOOKED_AT = 32  # demonstrations whose values decide what is no state


@dataclass
class _Survey:
    """What one pass over all demonstrations finds. wanted: the kinds that each must have, and how
    they are put together; by default those of the first.

    counts: demonstrations of each kinds. plans: how each kinds is put together. spoilt: why a
    demonstration is not read.
    """

    wanted: tuple[Kinds, Plan] | None
    counts: dict[Kinds, int] = field(default_factory=dict)
    plans: dict[Kinds, Plan] = field(default_factory=dict)
    spoilt: dict[str, str] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    succeeded: dict[str, bool] = field(default_factory=dict)
    labels: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    gathering: StatisticsCollector = field(default_factory=StatisticsCollector)

    @property
    def commonest(self) -> tuple[Kinds, Plan] | None:
        return max(self.plans.items(), key=lambda item: self.counts[item[0]], default=None)


class RobomimicReader:
    """See `formats.reader.Reader`. Raises UserError naming what is missing or torn.

    Cameras are the uint8 observations of three dimensions and rows of encoded pictures, the state
    all other numbers in the order of their names. A demonstration that is torn, or is not like most
    of the others, is complained of.
    """

    def __init__(self, path: Path, file: Hdf5File, complain: Complain = refuse) -> None:
        self.path, self._file = path, file
        data = file.group("data")
        text = next((text for name in NAMES if (text := file.attribute(data, name))), None)
        self._ours = DatasetDescription.read(json_object(text), path)
        self._acted = (ACTIONS, EXPERT_ACTIONS, *RECORDED.values()) if self._ours else (ACTIONS,)
        self._numbers = self._ours.task_numbers() if self._ours else {}
        self._environment = json_object(file.attribute(data, "env_args"))
        names = self._named(data)
        survey = self._survey(names)
        for name, why in survey.spoilt.items():
            complain(why, name)
        self._demos = [name for name in names if name in survey.lengths]
        if not self._demos or survey.wanted is None:
            raise UserError(
                f"{path} has no demonstration that can be read: {next(iter(survey.spoilt.values()))}"
            )
        kinds, self._plan = survey.wanted
        longer = [name for name, kind in kinds if kind.extra_rows]
        self._notes_of_rows = (
            *arrays.extra_row_note(longer, ACTIONS),
            *notes_of_counts(file, names, survey.lengths),
        )
        self._lengths = np.asarray([survey.lengths[name] for name in self._demos], dtype=np.int64)
        self._read = [*(name for name, _, _ in self._plan.cameras.values()), *self._plan.state]
        self._upside_down = (
            bottom_first(file, data, self._environment, self._read) if self._plan.cameras else ""
        )
        self.contents = self._describe(survey, data)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        name, length = self._demos[index], int(self._lengths[index])
        group = self._file.group(f"data/{name}")
        members = set(self._file.names(group))
        observed = {key: self._file.array(f"obs/{key}", group) for key in self._plan.state}
        steps = {key: self._file.array(key, group) for key in self._acted if key in members}
        columns = {STATE: self._state(self._plan, observed, length), **self._actions(steps, name)}
        for column, key in PER_STEP.items():
            if key in members:
                values = self._file.read(self._file.array(key, group))
                columns[column] = arrays.one_per_step(
                    values, length, f"{self.path}: {key} of {name}"
                )
        return columns

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        key, _, _ = self._plan.cameras[camera]
        where = f"data/{self._demos[index]}/obs/{key}"
        array = self._file.array(where)
        if holds_bytes(array):
            frames = decode_images(self._file.blobs(array, rows), rows, f"{self.path}: {where}")
        else:
            frames = arrays.colour(self._file.read(array, rows))
        return frames[:, ::-1] if self._upside_down else frames

    def files(self) -> Sequence[Path]:
        return [self.path]

    def _named(self, data: Group) -> list[str]:
        """The demonstrations, by their number."""
        members = self._file.names(data)
        names = [name for name in members if name.startswith("demo_") and name[5:].isdecimal()]
        if not names:
            raise UnsupportedFormatError(
                f"{self.path} has no data/demo_0; data holds {first_names(members) or 'nothing'}",
                f"{_renaming(members)}demonstrations are called data/demo_0, data/demo_1 and so on",
            )
        self._others = sorted(set(members) - set(names))
        if not any(self._has_observations(name) for name in names):
            raise UnsupportedFormatError(
                f"{self.path} has states and actions and no observations (no data/{names[0]}/obs), as robosuite's own "
                "recordings have",
                "make them with robomimic's dataset_states_to_obs.py",
            )
        return sorted(names, key=lambda name: int(name[5:]))

    def _has_observations(self, name: str) -> bool:
        """Whether it has a group of them; a link that leads to nothing is complained of later."""
        try:
            found = self._file.find(f"data/{name}/obs")
        except UserError:
            return True
        return isinstance(found, Group) and bool(self._file.names(found))

    def _survey(self, names: Sequence[str]) -> _Survey:
        """Demonstrations are held against the commonest kind; most often that is the first
        one's."""
        survey = self._pass(names, None)
        common = survey.commonest
        return survey if common is None or common == survey.wanted else self._pass(names, common)

    def _pass(self, names: Sequence[str], wanted: tuple[Kinds, Plan] | None) -> _Survey:
        survey = _Survey(wanted)
        plans: dict[tuple[tuple[str, ArrayInfo], ...], Plan] = {}
        sample = [names[int(number)] for number in sample_rows(len(names), _LOOKED_AT)]
        for name in names:
            try:
                demo = open_demo(self._file, name, self._acted)
                key = tuple(demo.entries.items())
                if key not in plans:
                    plans[key] = arrays.plan(demo.entries, seen=lambda key: self._seen(sample, key))
                self._take(survey, demo, plans[key])
            except UserError as error:
                survey.spoilt[name] = str(error)
        return survey

    def _seen(self, sample: Sequence[str], key: str) -> Iterable[np.ndarray]:
        """The values of an observation in those demonstrations that have it and are sound."""
        for name in sample:
            with suppress(UserError):
                yield self._file.read(self._file.array(f"data/{name}/obs/{key}"))

    def _take(self, survey: _Survey, demo: Demo, plan: Plan) -> None:
        """Look at one demonstration's numbers. Raises UserError if something is wrong with it."""
        kinds = demo.kinds(plan)
        survey.counts[kinds] = survey.counts.get(kinds, 0) + 1
        survey.plans.setdefault(kinds, plan)
        survey.wanted = survey.wanted or (kinds, plan)
        wanted, whole = dict(survey.wanted[0]), survey.wanted[1]
        if why := unlike(wanted, dict(kinds), demo):
            raise UserError(f"{self.path}: {demo.name} {why}")
        labels = self._labels(demo)
        columns = {
            STATE: self._state(whole, demo.observed, demo.length),
            **self._actions(demo.steps, demo.name),
        }
        if "success" in demo.steps:
            survey.succeeded[demo.name] = bool(self._file.read(demo.steps["success"]).any())
        survey.gathering.add(columns, f"{self.path}: {demo.name}", whole.state_names)
        survey.lengths[demo.name], survey.labels[demo.name] = demo.length, labels
        if len(survey.lengths) == 1:
            asked = labels.get("instruction", StoredInstruction()).array
            others = (name for name in self._file.names(demo.group) if name not in {*_KNOWN, asked})
            observed = {
                name: why
                for name, why in {**plan.left_out, **demo.odd}.items()
                if f"obs/{name}" != asked
            }
            survey.left_out |= dict.fromkeys(others, "not an observation") | observed
        survey.left_out |= {
            name: "not in every demonstration" for name, _ in kinds if name not in wanted
        }

    def _labels(self, demo: Demo) -> Mapping[str, Any]:
        """What a demonstration says of itself."""
        if not self._ours:
            asked = instruction_of(self._file, demo.group, demo.length)
            if not asked.text:
                asked = instruction_of(self._file, self._file.group("obs", demo.group), demo.length)
                asked = replace(asked, array=f"obs/{asked.array}") if asked.array else asked
            return {"instruction": asked}
        labels = json_object(self._file.attribute(demo.group, "ep_meta"))
        if str(labels.get("task")) not in self._numbers or not isinstance(labels.get("seed"), int):
            raise UserError(
                f"{self.path}: {demo.name} has no task and seed of this dataset in its attribute ep_meta"
            )
        return labels

    def _state(self, plan: Plan, observed: Mapping[str, Array], length: int) -> np.ndarray:
        return plan.state_of(
            {name: self._file.read(observed[name])[:length] for name in plan.state}, length
        )

    def _actions(self, steps: Mapping[str, Array], demo: str) -> dict[str, np.ndarray]:
        """The columns of actions, float32 (T, a)."""
        found = {
            key: self._file.read(steps[key]).reshape(steps[key].shape[0], -1)
            for key in self._acted
            if key in steps
        }
        if self._ours is None:
            return {ACTION: found[ACTIONS].astype(np.float32)}
        columns = {}
        for column, key in {ACTION: ACTIONS, EXPERT_ACTION: EXPERT_ACTIONS}.items():
            try:
                if key in found:
                    columns[column] = as_recorded(
                        found[key], found.get(RECORDED[key]), self._ours.spec.action
                    )
            except ValueError as error:
                raise UserError(f"{self.path}: {key} of {demo} {error}") from error
        return columns

    def _describe(self, survey: _Survey, data: Group) -> Contents:
        succeeded = [survey.succeeded.get(name) for name in self._demos]
        known: dict[str, Any] = {
            "format": "robomimic HDF5",
            "lengths": self._lengths,
            "statistics": survey.gathering.finish(self.path),
            "images": self._stored_images(),
            "succeeded": None if None in succeeded else np.asarray(succeeded),
            "episodes_left_out": survey.spoilt,
            "episode_names": tuple(self._demos),
        }
        labels = [survey.labels[name] for name in self._demos]
        if self._ours:
            with format_errors(self.path, "manyparts"):
                return Contents(
                    spec=self._plan.require(self._ours.spec, self.path),
                    fps=self._ours.fps,
                    tasks=self._ours.tasks,
                    episode_task=np.asarray(
                        [self._numbers[each["task"]] for each in labels], dtype=np.int64
                    ),
                    environment=self._ours.environment,
                    seeds=np.asarray([each["seed"] for each in labels], dtype=np.int64),
                    notes=self._notes_of_rows,
                    **known,
                )
        return self._describe_foreign(
            [each["instruction"] for each in labels], survey.left_out, data, known
        )

    def _describe_foreign(
        self,
        own: Sequence[StoredInstruction],
        left_out: Mapping[str, str],
        data: Group,
        known: Mapping[str, Any],
    ) -> Contents:
        """own: the instruction of each demonstration."""
        settings = self._environment.get("env_kwargs")
        rate = settings.get("control_freq") if isinstance(settings, Mapping) else None
        fps = float(rate) if isinstance(rate, int | float) and 0 < rate < _HIGHEST_FPS else _FPS
        name = str(self._environment.get("env_name") or UNKNOWN)
        everywhere = (
            instruction_of(self._file, data).text
            or instruction_of(self._file, self._file.group("")).text
        )
        by_name = "" if everywhere else instruction_from_name(self.path, self._read)
        tasks, episode_task = arrays.tasks_of(
            [asked.text or everywhere or by_name or name for asked in own]
        )
        statistics = known["statistics"]
        inside = min(statistics[ACTION].min) >= -1 and max(statistics[ACTION].max) <= 1
        ones = np.ones(len(statistics[ACTION].min))
        spec = arrays.spec_of(
            self._plan,
            statistics,
            embodiment=_robot(settings) or name,
            named=bool(_robot(settings)) or name != UNKNOWN,
            fps=fps,
            bounds=(-ones, ones) if inside else None,
        )
        without = [
            demo
            for demo, asked in zip(self._demos, own, strict=True)
            if not asked.text and not everywhere
        ]
        return Contents(
            spec=spec,
            fps=fps,
            tasks=tasks,
            episode_task=episode_task,
            left_out=left_out,
            notes=(
                *self._notes_of_rows,
                *self._notes(without, name, by_name),
                *changing_note(sum(asked.changes for asked in own)),
            ),
            **known,
        )

    def _notes(self, without: Sequence[str], name: str, by_name: str) -> Iterable[str]:
        """without: the demonstrations that have no instruction. name, by_name: what stands for it,
        the environment's name or, first, what the file's name says."""
        if without:
            which = (
                "there is no instruction"
                if len(without) == len(self._demos)
                else f"{first_names(without)} lack one"
            )
            what = (
                f"the environment's name is used, {name!r}"
                if name != UNKNOWN
                else f"the task is called {name!r}"
            )
            what = f"the file's name is used, {by_name!r}" if by_name else what
            yield f"{which}: {what}"
        if self._upside_down:
            yield f"pictures are stored from the bottom row, and are turned top to bottom ({self._upside_down})"
        if encoded := self._encoded():
            yield f"{', '.join(encoded)}: encoded pictures, read as red, green, blue; the file does not say which order"
        if self._others:
            yield f"{first_names(self._others)} of data are not read: demonstrations are called demo_0, demo_1 and so on"
        mask = self._file.find("mask")
        if isinstance(mask, Group) and (splits := self._file.names(mask)):
            yield f"demonstrations of all splits are read together ({first_names(splits)} in mask)"

    def _encoded(self) -> list[str]:
        """The cameras that hold encoded pictures in the first demonstration."""
        obs = self._file.group(f"data/{self._demos[0]}/obs")
        return [
            key
            for key, _, _ in self._plan.cameras.values()
            if holds_bytes(self._file.array(key, obs))
        ]

    def _stored_images(self) -> str:
        return "none" if not self._plan.cameras else "encoded" if self._encoded() else "raw"


def _renaming(members: Sequence[str]) -> str:
    """How to make demonstrations of numbered members; empty if none has a number."""
    first = next((name for name in members if re.search(r"\d", name)), "")
    return (
        f"rename them with h5py, such as file.move('data/{first}', 'data/demo_0'): "
        if first
        else ""
    )


def _robot(settings: Any) -> str:
    robots = settings.get("robots") if isinstance(settings, Mapping) else None
    return "-".join(map(str, robots)) if isinstance(robots, list) else str(robots or "")
