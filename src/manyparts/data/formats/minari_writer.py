"""Write Minari datasets: HDF5 storage, images not encoded."""

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
from manyparts.data.formats.minari import MAIN
from manyparts.data.formats.minari_storage import METADATA

VERSION = "0.5.4"


class MinariWriter:
    """Writes the folder of one Minari dataset episode by episode: `add` each, then `close`.

    Observations are a Dict of `state` and the cameras. Minari has one observation more than
    actions, so the last one is repeated. Success is `infos/success`; the instruction is an
    attribute of the episode. Where a dataset does not say which episodes ended for good, those that
    end solved count as terminated.

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
        """Create the folder.

        Args:
            path: the folder, which must not exist.
            spec: the robot's cameras, state and actions.
            fps: frames per second.
            tasks: all tasks of the episodes.
            environment: the EnvConfig as JSON.
            expert: whether to write the expert's actions next to the executed ones.
            terminates: whether the episodes say if they ended for good.
            knows_success: whether the episodes say if the task is solved; if not, there are no
                `infos/success`.
            knows_reward: whether steps have rewards; if not, they are zeros, and the description
                of the dataset says so.
        """
        import h5py

        self._folder = path / "data"
        self._folder.mkdir(parents=True)
        self._file = h5py.File(
            self._folder / MAIN, "w", track_order=True, locking=knows_locks(self._folder)
        )
        self._spec, self._fps, self._tasks, self._environment = spec, fps, tuple(tasks), environment
        self.num_episodes = self.num_frames = 0
        self._name, self._expert, self._terminates = path.name, expert, terminates
        self._knows_success, self._knows_reward = knows_success, knows_reward

    def add(self, episode: Episode) -> None:
        """Write an episode."""
        length = len(episode)
        group = self._file.create_group(f"episode_{self.num_episodes}")
        attributes: dict[str, Any] = {
            "id": self.num_episodes,
            "total_steps": length,
            "task": episode.task,
            "sentence": episode.instruction,
        }
        if episode.seed >= 0:
            attributes["seed"] = episode.seed
        group.attrs.update(attributes)
        last = np.arange(length) == length - 1
        terminated = last & (episode.terminated if self._terminates else episode.success)
        self._put(group, "actions", self._stored_action(episode.action))
        self._put(group, "rewards", episode.reward)
        self._put(group, "terminations", terminated)
        self._put(group, "truncations", last & ~terminated)
        if self._knows_success:
            self._put(group, "infos/success", np.concatenate([[False], episode.success]))
        if self._expert:
            after_reset = np.concatenate([episode.expert_action[:1] * 0, episode.expert_action])
            self._put(group, "infos/expert_action", after_reset)
        for name, array in self._observed(episode).items():
            self._put(group, f"observations/{name}", np.concatenate([array, array[-1:]]))
        self.num_episodes += 1
        self.num_frames += length

    def take(self, path: Path) -> None:
        """Copy all episodes of another folder of this writer, without decoding them."""
        import h5py

        opened: Any = h5py.File(
            path / "data" / MAIN, "r", locking=can_be_locked(path / "data" / MAIN)
        )
        with opened as other:
            for number in range(len(other)):
                episode = other[f"episode_{number}"]
                other.copy(episode, self._file, name=f"episode_{self.num_episodes}")
                self._file[f"episode_{self.num_episodes}"].attrs["id"] = self.num_episodes
                self.num_episodes += 1
                self.num_frames += int(episode.attrs["total_steps"])

    def close(self) -> None:
        """Write the description of the dataset, and close its file."""
        self._file.close()
        spec = self._spec
        description = DatasetDescription(
            spec,
            self._fps,
            self._tasks,
            self._environment,
            self._terminates,
            self._knows_reward,
        )
        observed: dict[str, Any] = {
            name: _box(np.zeros((*size, 3)), np.full((*size, 3), 255), "uint8")
            for name, size in spec.cameras.items()
        }
        if spec.state_names:
            size = np.full(spec.state_dimension, np.inf)
            observed["state"] = _box(-size, size, "float32")
        metadata = {
            "total_episodes": self.num_episodes,
            "total_steps": self.num_frames,
            "data_format": "hdf5",
            "jpeg_encoding": False,
            "observation_space": json.dumps({"type": "Dict", "subspaces": observed}),
            "action_space": json.dumps(self._action_space()),
            "dataset_id": f"{_identifier(self._name)}-v0",
            "minari_version": VERSION,
            "dataset_size": round((self._folder / MAIN).stat().st_size / 1e6, 1),
            "description": "; ".join(task.instruction for task in self._tasks),
            "algorithm_name": "",
            NAME: description.to_dict(),
        }
        (self._folder / METADATA).write_text(json.dumps(metadata))

    def _observed(self, episode: Episode) -> dict[str, np.ndarray]:
        return {**episode.images, **({"state": episode.state} if self._spec.state_names else {})}

    def _stored_action(self, action: np.ndarray) -> np.ndarray:
        """Choices as integers (T,); other actions (T, a) as they are."""
        if not self._spec.action.choices:
            return action
        choices = action[:, 0].astype(np.int64)
        # A number between two choices must not become one of them.
        return choices if (choices == action[:, 0]).all() else action[:, 0]

    def _action_space(self) -> dict[str, Any]:
        action = self._spec.action
        if action.choices:
            return {"type": "Discrete", "dtype": "int64", "start": 0, "n": len(action.choices)}
        return _box(np.asarray(action.low), np.asarray(action.high), "float32")

    @staticmethod
    def _put(group: Any, name: str, array: np.ndarray) -> None:
        storage: dict[str, Any] = {"chunks": True}
        if array.ndim > 2:  # an image is read alone, so each one is a chunk
            storage = {"compression": "gzip", "compression_opts": 1}
            storage["chunks"] = (1, *array.shape[1:])
        group.create_dataset(name, data=array, maxshape=(None, *array.shape[1:]), **storage)


def _box(low: np.ndarray, high: np.ndarray, dtype: str) -> dict[str, Any]:
    return {
        "type": "Box",
        "dtype": dtype,
        "shape": list(low.shape),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def _identifier(name: str) -> str:
    """A name with the characters that Minari allows in an id."""
    allowed = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return allowed or "dataset"
