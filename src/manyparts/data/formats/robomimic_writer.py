"""Writes robomimic's HDF5."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.naming import NAME
from manyparts.core.records import Episode
from manyparts.core.spec import Spec, TaskEntry
from manyparts.core.storage.locks import can_be_locked, knows_locks
from manyparts.data.formats.dataset_description import DatasetDescription
from manyparts.data.formats.robomimic_actions import ACTIONS, EXPERT_ACTIONS, to_store


class RobomimicWriter:
    """One HDF5 file that grows an episode at a time: `add`, then `close`, which says what the whole
    is.

    State is `obs/state`, cameras are `obs/<name>_image`. An episode here has as many observations
    as actions, so the last `next_obs` is the last observation once more. `success`,
    `actions_expert` and the actions as they were recorded are ours; robomimic skips them.
    """

    def __init__(
        self,
        path: Path,
        spec: Spec,
        *,
        fps: float,
        tasks: Sequence[TaskEntry],
        environment: Mapping[str, Any],
        expert: bool = True,
    ) -> None:
        """expert: whether the expert's actions are written next to those that were executed."""
        import h5py

        self._file = h5py.File(path, "w", locking=knows_locks(path.parent))
        self._spec, self._fps, self._environment = spec, fps, environment
        self._tasks, self._expert = tuple(tasks), expert
        self._data = self._file.create_group("data")
        self.num_episodes = self.num_frames = 0

    def add(self, episode: Episode) -> None:
        length = len(episode)
        demo = self._data.create_group(f"demo_{self.num_episodes}")
        demo.attrs["num_samples"] = length
        demo.attrs["ep_meta"] = json.dumps(
            {"lang": episode.instruction, "task": episode.task, "seed": episode.seed}
        )
        done = np.arange(length) == length - 1
        values: dict[str, np.ndarray] = {
            **to_store(ACTIONS, episode.action, self._spec.action),
            "rewards": episode.reward,
            "dones": done.astype(np.int64),
            "success": episode.success,
            "states": episode.state,
        }
        if self._expert:
            values |= to_store(EXPERT_ACTIONS, episode.expert_action, self._spec.action)
        for name, array in values.items():
            demo.create_dataset(name, data=array)
        observed = {"state": episode.state} if self._spec.state_names else {}
        observed |= {f"{name}_image": frames for name, frames in episode.images.items()}
        after = np.minimum(np.arange(length) + 1, length - 1)
        for name, array in observed.items():
            packed: dict[str, Any] = (
                {"compression": "gzip", "compression_opts": 1} if array.ndim > 2 else {}
            )
            chunks = {"chunks": (1, *array.shape[1:])} if array.ndim > 2 else {}
            demo.create_dataset(f"obs/{name}", data=array, **packed, **chunks)
            demo.create_dataset(f"next_obs/{name}", data=array[after], **packed, **chunks)
        self.num_episodes += 1
        self.num_frames += length

    def take(self, path: Path) -> None:
        """Add the episodes of another such file as they lie there."""
        import h5py

        opened: Any = h5py.File(path, "r", locking=can_be_locked(path))
        with opened as other:
            for number in range(len(other["data"])):
                demo = other[f"data/demo_{number}"]
                other.copy(demo, self._data, name=f"demo_{self.num_episodes}")
                self.num_episodes += 1
                self.num_frames += int(demo.attrs["num_samples"])

    def close(self) -> None:
        settings = {"control_freq": self._fps, "robots": [self._spec.embodiment]}
        names = ", ".join(task.name for task in self._tasks)
        told = {
            "env_name": names,
            "env_version": "",
            "type": 2,
            "env_kwargs": settings,
        }  # 2: a gym environment
        self._data.attrs["env_args"] = json.dumps(told)
        self._data.attrs["total"] = self.num_frames
        ours = DatasetDescription(self._spec, self._fps, self._tasks, self._environment)
        self._data.attrs[NAME] = json.dumps(ours.to_dict())
        self._file.close()
