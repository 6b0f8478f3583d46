"""Read robomimic's HDF5: data/demo_N with actions, rewards, dones and obs/<key>."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.naming import NAMES
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import UNKNOWN, Plan
from manyparts.data.formats.dataset_description import DatasetDescription
from manyparts.data.formats.errors import (
    Complain,
    UnsupportedFormatError,
    format_errors,
    refuse,
)
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Array, Group, holds_bytes
from manyparts.data.formats.hdf5_rows import read_images
from manyparts.data.formats.instructions import instruction_of, json_object
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.libero import bottom_first, instruction_from_name
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.robomimic_actions import ACTIONS, EXPERT_ACTIONS, RECORDED, as_recorded
from manyparts.data.formats.robomimic_demos import (
    PER_STEP,
    Demo,
    Layout,
    difference,
    ended_for_good,
    first_names,
    notes_of_counts,
    open_demo,
    per_step_of,
)
from manyparts.data.formats.robomimic_survey import DemoLabels, Survey
from manyparts.data.formats.texts import changing_note
from manyparts.embodiment.statistics import sample_rows

_FPS = 20.0  # robosuite's control rate, where the file has none
_MAX_FPS = 1e6
_STANDARD_MEMBERS = {ACTIONS, *PER_STEP.values(), "states", "obs", "next_obs"}
_SAMPLE_DEMOS = 32  # demonstrations with the values that decide what is no state


class RobomimicReader:
    """See `formats.reader.Reader`.

    Cameras are the uint8 observations of three dimensions and rows of encoded images; the state is
    all other numbers in the order of their names.
    """

    def __init__(self, path: Path, file: Hdf5File, complain: Complain = refuse) -> None:
        """Read the description of a file, and all its numbers once.

        Args:
            path: the file.
            file: the opened file.
            complain: called for each demonstration that is torn, or not like most.

        Raises:
            UserError: naming what is missing or torn.
        """
        self.path, self._file = path, file
        data = file.group("data")
        text = next((text for name in NAMES if (text := file.attribute(data, name))), None)
        self._description = DatasetDescription.read(json_object(text), path)
        self._action_names: tuple[str, ...] = (ACTIONS,)
        self._task_numbers: dict[str, int] = {}
        if self._description:
            self._action_names = (ACTIONS, EXPERT_ACTIONS, *RECORDED.values())
            self._task_numbers = self._description.task_numbers()
        self._per_step = per_step_of(self._description)
        self._environment = json_object(file.attribute(data, "env_args"))
        names = self._demo_names(data)
        survey = self._survey(names)
        for name, why in survey.unreadable.items():
            complain(why, name)
        self._demos = [name for name in names if name in survey.lengths]
        if not self._demos or survey.expected is None:
            why = next(iter(survey.unreadable.values()))
            raise UserError(f"{path} has no demonstration that can be read: {why}")
        layout, self._plan = survey.expected
        longer = [name for name, size in layout if size.extra_rows]
        self._notes_of_rows = (
            *arrays.extra_row_note(longer, ACTIONS),
            *notes_of_counts(file, names, survey.lengths),
        )
        self._lengths = np.asarray([survey.lengths[name] for name in self._demos], dtype=np.int64)
        self._read = [*(name for name, _, _ in self._plan.cameras.values()), *self._plan.state]
        self._upside_down = ""  # why images are stored bottom row first
        if self._plan.cameras:
            self._upside_down = bottom_first(file, data, self._environment, self._read)
        self.contents = self._describe(survey, data)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        name, length = self._demos[index], int(self._lengths[index])
        group = self._file.group(f"data/{name}")
        members = set(self._file.names(group))
        observed = {key: self._file.array(f"obs/{key}", group) for key in self._plan.state}
        steps = {key: self._file.array(key, group) for key in self._action_names if key in members}
        columns = {STATE: self._state(self._plan, observed, length), **self._actions(steps, name)}
        for column, key in self._per_step.items():
            if key in members:
                values = self._file.read(self._file.array(key, group))
                columns[column] = arrays.one_per_step(
                    values, length, f"{self.path}: {key} of {name}"
                )
        return columns

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        key, _, _ = self._plan.cameras[camera]
        array = self._file.array(f"data/{self._demos[index]}/obs/{key}")
        frames = read_images(self._file, array, rows)
        return frames[:, ::-1] if self._upside_down else frames

    def files(self) -> Sequence[Path]:
        return [self.path]

    def _demo_names(self, data: Group) -> list[str]:
        """The demonstrations in the order of their numbers."""
        members = self._file.names(data)
        names = [name for name in members if name.startswith("demo_") and name[5:].isdecimal()]
        if not names:
            raise UnsupportedFormatError(
                f"{self.path} has no data/demo_0; data holds {first_names(members) or 'nothing'}",
                f"{_how_to_rename(members)}demonstrations are called data/demo_0, data/demo_1 "
                "and so on",
            )
        self._other_members = sorted(set(members) - set(names))
        if not any(self._has_observations(name) for name in names):
            raise UnsupportedFormatError(
                f"{self.path} has states and actions and no observations (no data/{names[0]}/obs), "
                "as robosuite's own recordings have",
                "make them with robomimic's dataset_states_to_obs.py",
            )
        return sorted(names, key=lambda name: int(name[5:]))

    def _has_observations(self, name: str) -> bool:
        """Whether a demonstration has observations; a broken link is reported later."""
        try:
            node = self._file.find(f"data/{name}/obs")
        except UserError:
            return True
        return isinstance(node, Group) and bool(self._file.names(node))

    def _survey(self, names: Sequence[str]) -> Survey:
        """Compare all demonstrations with the most frequent layout.

        The first pass compares them with the first demonstration, which nearly always has it.
        """
        survey = self._pass(names, None)
        common = survey.most_frequent
        if common is None or common == survey.expected:
            return survey
        return self._pass(names, common)

    def _pass(self, names: Sequence[str], expected: tuple[Layout, Plan] | None) -> Survey:
        """Read all demonstrations once."""
        survey = Survey(expected)
        plans: dict[tuple[tuple[str, ArrayInfo], ...], Plan] = {}
        sample = [names[int(number)] for number in sample_rows(len(names), _SAMPLE_DEMOS)]
        for name in names:
            try:
                demo = open_demo(self._file, name, self._action_names)
                key = tuple(demo.infos.items())
                if key not in plans:
                    plans[key] = arrays.plan(
                        demo.infos, values_of=lambda key: self._values_of(sample, key)
                    )
                self._add(survey, demo, plans[key])
            except UserError as error:
                survey.unreadable[name] = str(error)
        return survey

    def _values_of(self, sample: Sequence[str], key: str) -> Iterable[np.ndarray]:
        """The values of an observation in those demonstrations of a sample where it can be read."""
        for name in sample:
            with suppress(UserError):
                yield self._file.read(self._file.array(f"data/{name}/obs/{key}"))

    def _add(self, survey: Survey, demo: Demo, plan: Plan) -> None:
        """Add a demonstration to a survey. Raises UserError if something is wrong with it."""
        layout = demo.layout(plan)
        survey.counts[layout] = survey.counts.get(layout, 0) + 1
        survey.plans.setdefault(layout, plan)
        survey.expected = survey.expected or (layout, plan)
        expected, common_plan = dict(survey.expected[0]), survey.expected[1]
        if why := difference(expected, dict(layout), demo):
            raise UserError(f"{self.path}: {demo.name} {why}")
        labels = self._labels(demo)
        columns = {
            STATE: self._state(common_plan, demo.observed, demo.length),
            **self._actions(demo.steps, demo.name),
        }
        if "success" in demo.steps:
            survey.succeeded[demo.name] = bool(self._file.read(demo.steps["success"]).any())
        survey.collector.add(columns, f"{self.path}: {demo.name}", common_plan.state_names)
        survey.lengths[demo.name], survey.labels[demo.name] = demo.length, labels
        if len(survey.lengths) == 1:
            text_array = labels.instruction.array
            members = self._file.names(demo.group)
            others = [name for name in members if name not in {*_STANDARD_MEMBERS, text_array}]
            survey.left_out |= dict.fromkeys(others, "not an observation")
            for name, why in {**plan.left_out, **demo.faults}.items():
                if f"obs/{name}" != text_array:
                    survey.left_out[name] = why
        for name, _ in layout:
            if name not in expected:
                survey.left_out[name] = "not in every demonstration"

    def _labels(self, demo: Demo) -> DemoLabels:
        """The instruction of a demonstration, or its task and seed where manyparts wrote it."""
        if not self._description:
            instruction = instruction_of(self._file, demo.group, demo.length)
            if not instruction.text:
                observations = self._file.group("obs", demo.group)
                instruction = instruction_of(self._file, observations, demo.length)
                if instruction.array:
                    instruction = replace(instruction, array=f"obs/{instruction.array}")
            return DemoLabels(instruction)
        labels = json_object(self._file.attribute(demo.group, "ep_meta"))
        task, seed = str(labels.get("task")), labels.get("seed")
        if task not in self._task_numbers or not isinstance(seed, int):
            raise UserError(
                f"{self.path}: {demo.name} has no task and seed of this dataset "
                "in its attribute ep_meta"
            )
        return DemoLabels(task=task, seed=seed)

    def _state(self, plan: Plan, observed: Mapping[str, Array], length: int) -> np.ndarray:
        values = {name: self._file.read(observed[name])[:length] for name in plan.state}
        return plan.state_of(values, length)

    def _actions(self, steps: Mapping[str, Array], demo: str) -> dict[str, np.ndarray]:
        """The columns of actions, float32 (T, a)."""
        stored = {
            key: self._file.read(steps[key]).reshape(steps[key].shape[0], -1)
            for key in self._action_names
            if key in steps
        }
        if self._description is None:
            return {ACTION: stored[ACTIONS].astype(np.float32)}
        columns = {}
        for column, key in {ACTION: ACTIONS, EXPERT_ACTION: EXPERT_ACTIONS}.items():
            if key not in stored:
                continue
            try:
                columns[column] = as_recorded(
                    stored[key], stored.get(RECORDED[key]), self._description.spec.action
                )
            except ValueError as error:
                raise UserError(f"{self.path}: {key} of {demo} {error}") from error
        return columns

    def _describe(self, survey: Survey, data: Group) -> Contents:
        contents = self._describe_other_program(survey, data)
        if not self._description:
            return contents
        labels = [survey.labels[name] for name in self._demos]
        with format_errors(self.path, "manyparts"):
            return replace(
                contents,
                spec=self._plan.require(self._description.spec, self.path),
                fps=self._description.fps,
                tasks=self._description.tasks,
                episode_task=np.asarray(
                    [self._task_numbers[each.task] for each in labels], dtype=np.int64
                ),
                environment=self._description.environment,
                seeds=np.asarray([each.seed for each in labels], dtype=np.int64),
                terminated=ended_for_good(self._file, self._demos, self._description),
                left_out={},
                notes=self._notes_of_rows,
            )

    def _describe_other_program(self, survey: Survey, data: Group) -> Contents:
        """The description of a file as if another program had written it."""
        statistics = survey.collector.finish(self.path)
        succeeded = [survey.succeeded.get(name) for name in self._demos]
        instructions = [survey.labels[name].instruction for name in self._demos]
        settings = self._environment.get("env_kwargs")
        rate = settings.get("control_freq") if isinstance(settings, Mapping) else None
        fps = float(rate) if isinstance(rate, int | float) and 0 < rate < _MAX_FPS else _FPS
        name = str(self._environment.get("env_name") or UNKNOWN)
        of_file = (
            instruction_of(self._file, data).text
            or instruction_of(self._file, self._file.group("")).text
        )
        by_name = "" if of_file else instruction_from_name(self.path, self._read)
        tasks, episode_task = arrays.tasks_of(
            [each.text or of_file or by_name or name for each in instructions]
        )
        normalised = min(statistics[ACTION].min) >= -1 and max(statistics[ACTION].max) <= 1
        ones = np.ones(len(statistics[ACTION].min))
        without = [
            demo
            for demo, each in zip(self._demos, instructions, strict=True)
            if not each.text and not of_file
        ]
        return Contents(
            format="robomimic HDF5",
            spec=arrays.spec_of(
                self._plan,
                statistics,
                embodiment=_robot(settings) or name,
                named=bool(_robot(settings)) or name != UNKNOWN,
                fps=fps,
                bounds=(-ones, ones) if normalised else None,
            ),
            fps=fps,
            tasks=tasks,
            lengths=self._lengths,
            episode_task=episode_task,
            statistics=statistics,
            images=self._stored_images(),
            succeeded=None if None in succeeded else np.asarray(succeeded),
            left_out=survey.left_out,
            episodes_left_out=survey.unreadable,
            episode_names=tuple(self._demos),
            notes=(
                *self._notes_of_rows,
                *self._notes(without, name, by_name),
                *changing_note(sum(each.changes for each in instructions)),
            ),
        )

    def _notes(self, without: Sequence[str], name: str, by_name: str) -> Iterable[str]:
        """Notes for users.

        Args:
            without: the demonstrations that have no instruction.
            name: the environment's name, which stands for a missing instruction.
            by_name: the instruction in the file's name, which is preferred to it; "" if none.
        """
        if without:
            which = f"{first_names(without)} lack one"
            if len(without) == len(self._demos):
                which = "there is no instruction"
            if by_name:
                what = f"the file's name is used, {by_name!r}"
            elif name != UNKNOWN:
                what = f"the environment's name is used, {name!r}"
            else:
                what = f"the task is called {name!r}"
            yield f"{which}: {what}"
        if self._upside_down:
            yield f"images are stored bottom row first, and are flipped ({self._upside_down})"
        if encoded := self._encoded_cameras():
            yield (
                f"{', '.join(encoded)}: encoded images, read as red, green, blue; "
                "the file does not say which order"
            )
        if self._other_members:
            yield (
                f"{first_names(self._other_members)} of data are not read: "
                "demonstrations are called demo_0, demo_1 and so on"
            )
        mask = self._file.find("mask")
        if isinstance(mask, Group) and (splits := self._file.names(mask)):
            yield f"demonstrations of all splits are read together ({first_names(splits)} in mask)"

    def _encoded_cameras(self) -> list[str]:
        """The arrays of cameras that hold encoded images in the first demonstration."""
        obs = self._file.group(f"data/{self._demos[0]}/obs")
        return [
            key
            for key, _, _ in self._plan.cameras.values()
            if holds_bytes(self._file.array(key, obs))
        ]

    def _stored_images(self) -> str:
        if not self._plan.cameras:
            return "none"
        return "encoded" if self._encoded_cameras() else "raw"


def _how_to_rename(members: Sequence[str]) -> str:
    """How to make demonstrations of numbered members; "" if none has a number."""
    first = next((name for name in members if re.search(r"\d", name)), "")
    if not first:
        return ""
    return f"rename them with h5py, such as file.move('data/{first}', 'data/demo_0'): "


def _robot(settings: Any) -> str:
    """The robot's name in the environment's settings; "" if there is none."""
    robots = settings.get("robots") if isinstance(settings, Mapping) else None
    return "-".join(map(str, robots)) if isinstance(robots, list) else str(robots or "")
