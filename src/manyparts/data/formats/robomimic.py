"""robomimic's HDF5: data/demo_N with actions, rewards, dones and obs/<key>; read in place, and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import UNKNOWN, Entry
from manyparts.data.formats.errors import fitting
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.ours import Ours
from manyparts.data.formats.reader import ACTION, DONE, EXPERT_ACTION, REWARD, STATE, SUCCESS, Contents
from manyparts.naming import own_entry
from manyparts.types import UserError

_FPS = 20.0  # robosuite's control rate where the file tells none


class RobomimicReader:
    """See `formats.reader.Reader`. Raises UserError naming what is missing or torn.

    Cameras are the uint8 observations of three dimensions, the state all other numbers in the order of their names.
    """

    def __init__(self, path: Path, file: Hdf5File) -> None:
        self.path, self._file = path, file
        data = file.group("data")
        names = [name for name in file.names(data) if name.startswith("demo_") and name[5:].isdigit()]
        self._demos = sorted(names, key=lambda name: int(name[5:]))
        if not self._demos:
            raise UserError(f"{path} has no data/demo_0")
        entries = self._entries(0)
        self._plan = arrays.plan(entries)
        arrays.same_for_all(entries, self._entries, len(self._demos), path)
        self._lengths = np.asarray([self._length(index) for index in range(len(self._demos))], dtype=np.int64)
        about = file.attributes(data)
        self._ours = Ours.read(_json(own_entry(about)), path)
        self.contents = self._describe(_json(about.get("env_args")))

    def columns(self, index: int) -> dict[str, np.ndarray]:
        demo, length = self._demo(index), int(self._lengths[index])
        observations = {name: self._file.read(demo["obs"][name]) for name in self._plan.state}
        columns = {
            STATE: self._plan.state_of(observations, length),
            ACTION: self._actions(demo, "actions", length),
        }
        if self._ours and "actions_expert" in demo:
            columns[EXPERT_ACTION] = self._actions(demo, "actions_expert", length)
        for name, key in ((REWARD, "rewards"), (DONE, "dones"), (SUCCESS, "success")):
            if key in demo:
                columns[name] = self._file.read(demo[key]).reshape(-1)
                if len(columns[name]) != length:
                    raise UserError(
                        f"{self.path}: {self._demos[index]} has {len(columns[name])} {key}, {length} actions"
                    )
        return columns

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        key, _, _ = self._plan.cameras[camera]
        return arrays.colour(self._file.read(self._demo(index)["obs"][key], rows))

    def _actions(self, demo: Mapping[str, Any], name: str, length: int) -> np.ndarray:
        actions = self._file.read(demo[name]).astype(np.float32).reshape(length, -1)
        if not self._ours:
            return actions
        contract = self._ours.spec.action
        low, high = np.asarray(contract.low, np.float32), np.asarray(contract.high, np.float32)
        found = low + (actions + 1) / 2 * (high - low)  # not clipped: what was recorded may lie beyond the bounds
        return np.rint(found) if contract.choices else found

    def files(self) -> Sequence[Path]:
        return [self.path]

    def _describe(self, environment: Mapping[str, Any]) -> Contents:
        count, told = len(self._demos), [self._told(index) for index in range(len(self._demos))]
        statistics = arrays.gather_statistics(map(self.columns, range(count)), self.path)
        known: dict[str, Any] = {
            "format": "robomimic HDF5",
            "lengths": self._lengths,
            "statistics": statistics,
            "images": "raw" if self._plan.cameras else "none",
            "succeeded": self._succeeded(),
        }
        if self._ours:
            numbers = self._ours.task_numbers()
            with fitting(self.path, "manyparts"):
                return Contents(
                    spec=self._plan.require(self._ours.spec, self.path),
                    fps=self._ours.fps,
                    tasks=self._ours.tasks,
                    episode_task=np.asarray([numbers[each["task"]] for each in told], dtype=np.int64),
                    environment=self._ours.environment,
                    seeds=np.asarray([each["seed"] for each in told], dtype=np.int64),
                    **known,
                )
        settings = environment.get("env_kwargs")
        rate = settings.get("control_freq") if isinstance(settings, Mapping) else None
        fps = float(rate) if isinstance(rate, int | float) and rate > 0 else _FPS
        name = str(environment.get("env_name") or UNKNOWN)
        tasks, episode_task = arrays.tasks_of(
            [str(each.get("lang") or environment.get("env_lang") or name) for each in told]
        )
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
        return Contents(
            spec=spec, fps=fps, tasks=tasks, episode_task=episode_task, left_out=self._plan.left_out, **known
        )

    def _told(self, index: int) -> Mapping[str, Any]:
        """What a demonstration's own description says."""
        return _json(self._file.attributes(self._file.group(f"data/{self._demos[index]}")).get("ep_meta"))

    def _succeeded(self) -> np.ndarray | None:
        if "success" not in self._demo(0):
            return None
        return np.asarray([bool(self.columns(index)[SUCCESS].any()) for index in range(len(self._demos))])

    def _demo(self, index: int) -> dict[str, Any]:
        """The arrays of a demonstration by name, those of its observations under "obs"."""
        group = self._file.group(f"data/{self._demos[index]}")
        found: dict[str, Any] = {"obs": dict(self._file.leaves(self._file.group(f"{group.name}/obs")))}
        for name in ("actions", "actions_expert", "rewards", "dones", "success"):
            if name in self._file.names(group):
                found[name] = self._file.array(f"{group.name}/{name}")
        return found

    def _entries(self, index: int) -> dict[str, Entry]:
        return {name: self._file.entry(array) for name, array in self._demo(index)["obs"].items()}

    def _length(self, index: int) -> int:
        demo = self._demo(index)
        if "actions" not in demo:
            raise UserError(f"{self.path} has no actions in {self._demos[index]}")
        length = len(demo["actions"])
        wrong = {name: len(array) for name, array in demo["obs"].items() if len(array) != length}
        if wrong or not length:
            raise UserError(f"{self.path}: {self._demos[index]} has {length} actions, but observations {wrong}")
        return length


def _robot(settings: Any) -> str:
    robots = settings.get("robots") if isinstance(settings, Mapping) else None
    return "-".join(map(str, robots)) if isinstance(robots, list) else str(robots or "")


def _json(text: Any) -> Mapping[str, Any]:
    try:
        values = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, Mapping) else {}
