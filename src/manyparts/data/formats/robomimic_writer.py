"""Write robomimic's HDF5."""

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
from manyparts.data.formats.robomimic_demos import ENDED


class RobomimicWriter:
    """Writes one HDF5 file episode by episode: `add` each, then `close`.

    The state is `obs/state`, cameras are `obs/<name>_image`. Our episodes have as many observations
    as actions, so the last `next_obs` repeats the last observation. robomimic ignores the arrays
    that it does not know: `success`, `terminated`, `actions_expert` and the actions as they were
    recorded.

    Attributes:
        num_episodes: episodes written so far.
        num_frames: steps written so far.
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
        terminates: bool = False,
        knows_success: bool = True,
        knows_reward: bool = True,
    ) -> None:
        """Create the file.

        Args:
            path: the file, which must not exist.
            spec: the robot's cameras, state and actions.
            fps: frames per second.
            tasks: all tasks of the episodes.
            environment: the EnvConfig as JSON.
            expert: whether to write the expert's actions next to the executed ones.
            terminates: whether the episodes say if they ended for good; if so, there is
                `terminated`.
            knows_success: whether the episodes say if the task is solved; if not, there is no
                `success`.
            knows_reward: whether steps have rewards; if not, they are zeros, and the description
                of the dataset says so.
        """
        import h5py

        self._file = h5py.File(path, "w", locking=knows_locks(path.parent))
        self._spec, self._fps, self._environment = spec, fps, environment
        self._tasks, self._expert, self._terminates = tuple(tasks), expert, terminates
        self._knows_success, self._knows_reward = knows_success, knows_reward
        self._data = self._file.create_group("data")
        self.num_episodes = self.num_frames = 0

    def add(self, episode: Episode) -> None:
        """Write an episode."""
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
            "states": episode.state,
        }
        if self._terminates:
            values[ENDED] = done & episode.terminated
        if self._knows_success:
            values["success"] = episode.success
        if self._expert:
            values |= to_store(EXPERT_ACTIONS, episode.expert_action, self._spec.action)
        for name, array in values.items():
            demo.create_dataset(name, data=array)
        observed = {"state": episode.state} if self._spec.state_names else {}
        observed |= {f"{name}_image": frames for name, frames in episode.images.items()}
        next_row = np.minimum(np.arange(length) + 1, length - 1)
        for name, array in observed.items():
            storage: dict[str, Any] = {}
            if array.ndim > 2:  # an image is read alone, so each one is a chunk
                storage = {"compression": "gzip", "compression_opts": 1}
                storage["chunks"] = (1, *array.shape[1:])
            demo.create_dataset(f"obs/{name}", data=array, **storage)
            demo.create_dataset(f"next_obs/{name}", data=array[next_row], **storage)
        self.num_episodes += 1
        self.num_frames += length

    def take(self, path: Path) -> None:
        """Copy all episodes of another file of this writer, without decoding them."""
        import h5py

        opened: Any = h5py.File(path, "r", locking=can_be_locked(path))
        with opened as other:
            for number in range(len(other["data"])):
                demo = other[f"data/demo_{number}"]
                other.copy(demo, self._data, name=f"demo_{self.num_episodes}")
                self.num_episodes += 1
                self.num_frames += int(demo.attrs["num_samples"])

    def close(self) -> None:
        """Write the description of the dataset, and close the file."""
        settings = {"control_freq": self._fps, "robots": [self._spec.embodiment]}
        names = ", ".join(task.name for task in self._tasks)
        gym_environment = 2  # robomimic's number of this type
        env_args = {
            "env_name": names,
            "env_version": "",
            "type": gym_environment,
            "env_kwargs": settings,
        }
        self._data.attrs["env_args"] = json.dumps(env_args)
        self._data.attrs["total"] = self.num_frames
        description = DatasetDescription(
            self._spec,
            self._fps,
            self._tasks,
            self._environment,
            self._terminates,
            self._knows_reward,
        )
        self._data.attrs[NAME] = json.dumps(description.to_dict())
        self._file.close()
