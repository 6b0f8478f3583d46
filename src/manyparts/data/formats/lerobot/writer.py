"""Write episodes to a LeRobotDataset v3.0 one by one; the folder appears complete, in one step."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from manyparts.core.arguments import path_of
from manyparts.core.columns import (
    ACTION,
    DONE,
    EXPERT_ACTION,
    IMAGES,
    REWARD,
    STATE,
    SUCCESS,
    TERMINATED,
)
from manyparts.core.errors import UserError
from manyparts.core.naming import NAME
from manyparts.core.records import Episode
from manyparts.core.spec import Spec, TaskEntry
from manyparts.core.storage.atomic import (
    disk_error,
    rename_into_place,
    replace_folder,
    temporary_folder,
)
from manyparts.data.formats.dataset_description import tasks_to_json
from manyparts.data.formats.files import arrow_path
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.card import counts, dataset_card
from manyparts.data.formats.lerobot.continuation import Continuation, keep_others, link_files
from manyparts.data.formats.lerobot.files import EpisodeFile, FrameFiles, VideoFiles, free_file
from manyparts.data.formats.lerobot.fitting import require_fitting
from manyparts.data.formats.lerobot.written_statistics import DatasetStatistics
from manyparts.data.png import encode_png
from manyparts.embodiment.statistics import sample_rows

Images = Literal["png", "video"]
_CARD = "README.md"


class DatasetWriter:
    """Writes a dataset: `with DatasetWriter(...) as writer: writer.add(episode)`.

    Everything goes to a hidden folder next to `path`, which is renamed to `path` when the `with`
    block ends, and removed if it ends in an exception. Memory does not grow with the number of
    episodes. Equal episodes in equal order give equal bytes.

    Attributes:
        path: the dataset's folder.
        spec: the robot's cameras, state and actions.
        fps: frames per second.
        environment: the EnvConfig as JSON.
        images: how images are stored.
        tasks: all tasks.
        num_episodes: episodes of the dataset so far.
        num_frames: frames of the dataset so far.
    """

    def __init__(
        self,
        path: str | Path,
        spec: Spec,
        *,
        fps: float,
        tasks: Sequence[TaskEntry],
        environment: Mapping[str, Any],
        images: Images = "png",
        expert: bool = True,
        terminates: bool = False,
        knows_success: bool = True,
        knows_reward: bool = True,
        continues: Continuation | None = None,
    ) -> None:
        """Create the hidden folder.

        Args:
            path: the dataset's folder, which must not exist.
            spec: the robot's cameras, state and actions.
            fps: frames per second.
            tasks: all tasks of the episodes.
            environment: the EnvConfig as JSON.
            images: "png", or "video", which is lossy.
            expert: whether to write a column of the expert's actions next to the executed ones.
            terminates: whether to write a column of whether the episode ended for good, for
                environments whose episodes can.
            knows_success: whether to write a column of whether the task is solved; not for
                environments that do not say it.
            knows_reward: whether to write a column of rewards; not where nobody gave any.
            continues: the existing dataset to add to, see `append`; its columns stay as they are.

        Raises:
            UserError: if `path` exists, or the disk is full.
        """
        self.path = path_of(path)
        if images not in ("png", "video"):
            raise UserError(f"images is {images!r}; choose png or video")
        if self.path.exists() and continues is None:
            raise UserError(f"{self.path} exists; choose another output folder")
        self.spec, self.fps, self.environment = spec, fps, dict(environment)
        self.images: Images = images
        self.tasks = tuple(tasks)
        self.num_episodes = self.num_frames = 0
        self._info: bytes | None = None
        self._task_index = {task.name: index for index, task in enumerate(self.tasks)}
        self._task_named = {task.name: task for task in self.tasks}
        if len(self._task_index) < len(self.tasks):
            raise UserError(f"tasks name one twice: {', '.join(task.name for task in self.tasks)}")
        self._replaces = continues is not None
        self._card_before = self._counts_before = b""
        if continues is not None:
            self._expert, self._terminates = continues.expert, continues.terminates
            knows_success = continues.knows_success
            knows_reward = continues.knows_reward
        else:
            self._expert, self._terminates = EXPERT_ACTION if expert else None, terminates
        self._features = layout.features(
            spec,
            fps=fps,
            images=images,
            expert=self._expert,
            terminates=self._terminates,
            knows_success=knows_success,
            knows_reward=knows_reward,
        )
        self._statistics = DatasetStatistics(self._features)
        self._folder = temporary_folder(self.path)
        self._frames = FrameFiles(self._folder, layout.frame_schema(self._features))
        self._videos = {
            name: VideoFiles(self._folder, name, fps)
            for name, item in self._features.items()
            if _is_video(item)
        }
        self._episodes = EpisodeFile(self._folder, layout.episode_schema(self._features))
        self._threads = ThreadPoolExecutor(2)
        if continues is not None:
            self._continue(continues)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def add(self, episode: Episode) -> None:
        """Add an episode.

        Raises:
            UserError: if it does not fit the spec or the tasks, its numbers are not finite, or the
                disk is full.
        """
        require_fitting(episode, self.spec, self._task_named, terminates=self._terminates)
        try:
            self._add(episode)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def attach(self, name: str, content: bytes) -> None:
        """Add a file `name`, such as "meta/served.jsonl", which appears with the dataset."""
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def close(self) -> None:
        """Write the metadata and move the dataset into place. Raises UserError if it is empty."""
        try:
            if not self.num_episodes:
                raise UserError(f"no episodes for {self.path}; nothing was written")
            self._close_files()
            self._write_descriptions()
            self._move_into_place()
        except OSError as error:
            self.abort()
            raise disk_error(error, self.path) from error
        except BaseException:
            self.abort()
            raise

    def statistics(self) -> dict[str, np.ndarray]:
        """The state of the statistics of all episodes so far, for a `Continuation`."""
        return self._statistics.state()

    def is_as_left(self) -> bool:
        """Whether the dataset is there as this writer closed it."""
        try:
            return (self.path / layout.INFO).read_bytes() == self._info
        except OSError:
            return False

    def continuation(self) -> Continuation:
        """What the next writer needs to add to this one's dataset, which is closed."""
        return Continuation(
            num_episodes=self.num_episodes,
            num_frames=self.num_frames,
            num_tasks=len(self.tasks),
            data_file=self._frames.files.file_index,
            video_files={name: files.file_index for name, files in self._videos.items()},
            episodes_file=self._episodes.file_index,
            expert=self._expert,
            terminates=self._terminates,
            knows_success=SUCCESS in self._features,
            knows_reward=REWARD in self._features,
            content=(),
            statistics=self.statistics(),
        )

    def abort(self) -> None:
        """Delete all that was written since the writer was created."""
        with contextlib.suppress(Exception):  # what cannot be written cannot be closed, either
            self._close_files()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _continue(self, existing: Continuation) -> None:
        try:
            link_files(self.path, self._folder)
            if existing.statistics is not None:
                self._statistics.restore(existing.statistics)
            else:
                for columns, images in existing.content:
                    self._statistics.add(columns, images)
        except BaseException:
            self.abort()
            raise
        self.num_episodes, self.num_frames = existing.num_episodes, existing.num_frames
        self._card_before = self._card(existing.num_tasks).encode()
        self._counts_before = counts(existing.num_episodes, existing.num_frames).encode()
        self._frames.files.file_index = existing.data_file
        self._episodes.file_index = free_file(self._folder, layout.EPISODES, existing.episodes_file)
        for name, file_index in existing.video_files.items():
            self._videos[name].file_index = file_index

    def _add(self, episode: Episode) -> None:
        length = len(episode)
        columns = self._columns(episode)
        sampled = {name: frames[sample_rows(length)] for name, frames in episode.images.items()}
        statistics = self._statistics.add(columns, sampled)
        chunk, file = self._frames.add(columns, self._encoded(episode))
        row = {
            "episode_index": self.num_episodes,
            "tasks": [episode.instruction],
            "length": length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self.num_frames,
            "dataset_to_index": self.num_frames + length,
            "task_index": self._task_index[episode.task],
            "seed": episode.seed,
            "noisy": not np.array_equal(episode.action, episode.expert_action),
        }
        for name, files in self._videos.items():
            row |= files.add(episode.images[name.removeprefix(IMAGES)])
        self._episodes.add(row | statistics)
        self.num_episodes += 1
        self.num_frames += length

    def _columns(self, episode: Episode) -> dict[str, np.ndarray]:
        rows = np.arange(len(episode))
        done = rows == len(episode) - 1
        columns = {
            STATE: episode.state,
            ACTION: episode.action,
            REWARD: episode.reward,
            DONE: done,
            SUCCESS: episode.success,
            TERMINATED: done & episode.terminated,
            "timestamp": rows / self.fps,
            "frame_index": rows,
            "episode_index": np.full(len(episode), self.num_episodes),
            "index": rows + self.num_frames,
            "task_index": np.full(len(episode), self._task_index[episode.task]),
        }
        if self._expert is not None:
            columns[self._expert] = episode.expert_action
        kinds = {name: feature["dtype"] for name, feature in self._features.items()}
        return {
            name: np.asarray(values, dtype=kinds[name])
            for name, values in columns.items()
            if name in kinds
        }

    def _encoded(self, episode: Episode) -> dict[str, list[bytes]]:
        if self.images == "video":
            return {}
        return {
            IMAGES + name: list(self._threads.map(encode_png, frames))
            for name, frames in episode.images.items()
        }

    def _close_files(self) -> None:
        self._threads.shutdown()
        for files in (self._frames, self._episodes, *self._videos.values()):
            files.close()

    def _write_descriptions(self) -> None:
        videos = bool(self._videos)
        info = {
            "codebase_version": layout.VERSION,
            "robot_type": self.spec.embodiment,
            "total_episodes": self.num_episodes,
            "total_frames": self.num_frames,
            "total_tasks": len(self.tasks),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": layout.DATA_FILE_MEGABYTES,
            "video_files_size_in_mb": layout.VIDEO_FILE_MEGABYTES,
            "fps": int(self.fps) if float(self.fps).is_integer() else self.fps,
            "splits": {"train": f"0:{self.num_episodes}"},
            "data_path": layout.DATA,
            "video_path": layout.VIDEO if videos else None,
            "features": self._features,
            NAME: {
                "spec": self.spec.to_dict(),
                "environment": self.environment,
                "tasks": tasks_to_json(self.tasks),
            },
        }
        images = [
            name
            for name, feature in self._features.items()
            if feature["dtype"] in ("image", "video")
        ]
        statistics = {
            name: value.to_dict(image=name in images)
            for name, value in self._statistics.finish().items()
        }
        _write_json(self._folder / layout.INFO, info)
        self._info = (self._folder / layout.INFO).read_bytes()
        _write_json(self._folder / layout.STATS, statistics)
        pq.write_table(
            layout.texts_table([task.instruction for task in self.tasks]),
            arrow_path(self._folder / layout.TASKS),
        )
        (self._folder / _CARD).write_bytes(self._card_now())

    def _card_now(self) -> bytes:
        """The README; of one that was edited, only the counts change."""
        own = self._card(len(self.tasks)).encode()
        try:
            before = (self.path / _CARD).read_bytes()
        except FileNotFoundError:
            return own
        if before.replace(b"\r\n", b"\n") == self._card_before:
            return own
        now = counts(self.num_episodes, self.num_frames).encode()
        return re.sub(rb"\b" + self._counts_before + rb"\b", now, before)

    def _card(self, num_tasks: int) -> str:
        """The README of the first so many tasks."""
        return dataset_card(
            self.spec.embodiment,
            self.tasks[:num_tasks],
            episodes=self.num_episodes,
            frames=self.num_frames,
            fps=self.fps,
            expert=self._expert,
        )

    def _move_into_place(self) -> None:
        if self._replaces:
            keep_others(self.path, self._folder)
            replace_folder(self._folder, self.path)
        elif not rename_into_place(self._folder, self.path):
            raise UserError(
                f"{self.path} was created by another process meanwhile; "
                "choose another output folder"
            )


def _is_video(feature: Mapping[str, Any]) -> bool:
    return feature["dtype"] == "video"


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
