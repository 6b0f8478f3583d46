"""Convert a dataset to another format: streaming, resumable, and complete in one step."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from manyparts.core.arguments import path_of
from manyparts.core.columns import EXPERT_ACTION
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say
from manyparts.core.progress import progress_bar
from manyparts.core.records import Episode
from manyparts.core.spec import Spec, TaskEntry
from manyparts.core.storage.atomic import disk_error, make_folder, write_atomically
from manyparts.core.storage.locked_folder import locked_folder
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, append
from manyparts.data.formats.bags.mapping import read_mapping
from manyparts.data.formats.bags.reader import BagReader
from manyparts.data.formats.hdf5 import require_h5py
from manyparts.data.formats.lerobot.layout import Known
from manyparts.data.formats.lerobot.writer import Images
from manyparts.data.formats.minari_writer import MinariWriter
from manyparts.data.formats.reader import FORMAT
from manyparts.data.formats.robomimic_writer import RobomimicWriter
from manyparts.data.tools.bounds import measured_bounds
from manyparts.embodiment.views.view import View

Format = Literal["lerobot", "robomimic", "minari"]
Actions = Literal["executed", "expert"]
_SEAL_SECONDS = 30.0
_OUTDATED: Mapping[str, str] = {
    "reading": "another version of manyparts began it, which reads data differently",
    "terminates": "another version of manyparts began it, which did not read terminations",
}


def convert(
    source: str | Path | EpisodeDataset,
    target: str | Path,
    *,
    format: Format = "lerobot",
    images: Images = "png",
    embodiment: str | None = None,
    actions: Actions = "executed",
    mapping: str | Path | None = None,
    view: View | None = None,
    seal_seconds: float = _SEAL_SECONDS,
) -> None:
    """Write a dataset in another format.

    Progress is saved in the folder `.TARGET.converting` next to the target, from which the same
    call goes on after a kill. If another version of manyparts began it, which reads data
    differently, the call starts again. Memory holds one episode.

    Args:
        source: the dataset, as `EpisodeDataset.open` takes it.
        target: the file or folder to write, which must not exist.
        format: "lerobot" (LeRobotDataset v3.0, a folder), "robomimic" (an .hdf5 file) or "minari"
            (a folder).
        images: how lerobot stores images: "png", or "video", which is lossy.
        embodiment: the robot's name to write; None: the source's.
        actions: "executed" writes the executed actions, and the expert's next to them; "expert"
            writes the expert's as the only ones, for programs that imitate `action`.
        mapping: for a ROS recording, the JSON file that says how its topics become rows.
        view: what to write of the source; None: all of it.
        seal_seconds: progress is saved every so many seconds.

    Raises:
        UserError: if the source is torn, the target exists, or the disk is full; the target is not
            touched.
    """
    target = path_of(target, "target")
    if format not in get_args(Format):
        raise UserError(f"format is {format!r}; choices: {', '.join(get_args(Format))}")
    if actions not in get_args(Actions):
        raise UserError(f"actions is {actions!r}; choices: {', '.join(get_args(Actions))}")
    if target.exists():
        raise UserError(f"{target} exists; choose another target")
    if format != "lerobot":
        require_h5py(target)
    if embodiment is not None and not embodiment.strip():
        raise UserError(f"embodiment is {embodiment!r}; expected the robot's name")
    dataset, mapping_values = _open(source, mapping, view)
    dataset = dataset if embodiment is None else dataset.of_embodiment(embodiment)
    if dataset.view is not None and dataset.view.changes_more_than_words:
        say(
            f"note: an agent of {target} expects what the view shows, and nobody shows its robot "
            f"so when it acts; to act with the robot's own cameras and states, train on "
            f"{dataset.path} through the view",
            error=True,
        )
    description = _describe(dataset, actions)
    staging = target.with_name(f".{target.name}.converting")
    make_folder(staging)
    # What an interrupted call has to agree with. Defaults are left out: versions before these
    # options had no such entries.
    manifest: dict[str, Any] = {
        "source": dataset.location,
        "fingerprint": dataset.fingerprint,
        "format": format,
        "images": images,
    }
    manifest |= {} if embodiment is None else {"embodiment": embodiment}
    manifest |= {} if actions == "executed" else {"actions": actions}
    manifest |= {} if mapping is None else {"mapping": mapping_values}
    manifest |= {"terminates": True} if description.known["terminates"] else {}
    manifest |= {"reading": FORMAT}
    try:
        with locked_folder(staging, manifest, resettable=_OUTDATED):
            if format == "lerobot":
                output = _LeRobotOutput(staging, description, images)
            else:
                output = _SegmentedOutput(staging, description, format)
            _write(dataset, output, description, seal_seconds)
            output.finish(staging / "whole", name=target.name)
            (staging / "whole").rename(target)
    except OSError as error:
        raise disk_error(error, target) from error
    shutil.rmtree(staging, ignore_errors=True)


def _open(
    source: str | Path | EpisodeDataset, mapping: str | Path | None, view: View | None
) -> tuple[EpisodeDataset, dict[str, Any]]:
    """The source, and the JSON values of the mapping that it is read with."""
    if mapping is None:
        return EpisodeDataset.open(source, view), {}
    if isinstance(source, EpisodeDataset):
        raise UserError("a mapping is for the path of a ROS recording, not for an opened dataset")
    parsed, values = read_mapping(path_of(mapping, "mapping"))
    dataset = EpisodeDataset(BagReader(path_of(source, "source"), parsed))
    dataset = dataset if view is None else dataset.through(view)
    dataset.reader.contents.warn(str(source), stacklevel=4)
    return dataset, values


@dataclass(frozen=True)
class _Description:
    """The description of the target."""

    spec: Spec
    """The robot's cameras, state and actions."""
    fps: float
    """Frames per second."""
    tasks: tuple[TaskEntry, ...]
    """All tasks."""
    environment: Mapping[str, Any]
    """The EnvConfig as JSON."""
    expert: bool
    """Whether the expert's actions are written next to the executed ones."""
    known: Known
    """Which columns the source has that not every dataset has."""

    def convert(self, episode: Episode) -> Episode:
        """An episode of the source as the target stores it."""
        return episode if self.expert else replace(episode, action=episode.expert_action)


def _describe(dataset: EpisodeDataset, actions: Actions) -> _Description:
    spec = dataset.spec if actions == "executed" else _spec_of_expert(dataset)
    return _Description(
        spec,
        dataset.fps,
        dataset.tasks,
        dataset.environment,
        expert=actions == "executed",
        known=dataset.known,
    )


def _spec_of_expert(dataset: EpisodeDataset) -> Spec:
    """The source's spec; measured bounds are replaced by those of the expert's actions."""
    if EXPERT_ACTION not in dataset.columns(0):
        raise UserError(
            f"{dataset.location} has no {EXPERT_ACTION}, so its actions are the only ones; "
            "leave --actions expert out"
        )
    if not dataset.spec.action.measured:
        return dataset.spec
    low, high = measured_bounds(dataset, range(dataset.num_episodes), (EXPERT_ACTION,))
    return replace(dataset.spec, action=replace(dataset.spec.action, low=low, high=high))


def _write(
    dataset: EpisodeDataset,
    output: _LeRobotOutput | _SegmentedOutput,
    description: _Description,
    seal_seconds: float,
) -> None:
    """Write the episodes that are not sealed yet."""
    resumed_at = done = output.sealed()
    start, total = time.monotonic(), dataset.num_episodes
    with progress_bar(f"converting episodes of {Path(dataset.location).name}", total) as bar:
        bar.show(done, "")
        while done < total:
            writer, first, until = output.open(done), done, time.monotonic() + seal_seconds
            while done < total and (done == first or time.monotonic() < until):
                writer.add(description.convert(dataset.episode(done)))
                done += 1
                frames = int(dataset.starts[done] - dataset.starts[resumed_at])
                bar.show(done, f"{frames / (time.monotonic() - start):.0f} frames/s")
            output.seal(writer)
        seconds = time.monotonic() - start
        episodes, frames = counted(total, "episode"), counted(dataset.num_frames, "frame")
        bar.summary = f"converted {episodes}, {frames} in {seconds:.1f} s"


class _LeRobotOutput:
    """A dataset in the staging folder that episodes are appended to, and the state of its
    statistics."""

    def __init__(self, staging: Path, description: _Description, images: Images) -> None:
        self._description = description
        self._images: Images = images
        self._whole, self._state = staging / "whole", staging / "statistics.npz"

    def sealed(self) -> int:
        """How many episodes are written safely."""
        return EpisodeDataset.open(self._whole).num_episodes if self._whole.exists() else 0

    def open(self, done: int) -> DatasetWriter:
        """A writer of the episodes from `done` on."""
        description = self._description
        if done:
            return append(
                self._whole,
                description.spec,
                fps=description.fps,
                tasks=description.tasks,
                environment=description.environment,
                statistics=self._saved_statistics(done),
            )
        return DatasetWriter(
            self._whole,
            description.spec,
            fps=description.fps,
            tasks=description.tasks,
            environment=description.environment,
            images=self._images,
            expert=description.expert,
            **description.known,
        )

    def seal(self, writer: DatasetWriter | _Segment) -> None:
        """Close a writer, and save the state of the statistics."""
        assert isinstance(writer, DatasetWriter)
        content = io.BytesIO()
        np.savez(content, episodes=np.asarray(writer.num_episodes), **writer.statistics())  # pyright: ignore
        write_atomically(self._state, content.getbuffer())
        writer.close()

    def finish(self, whole: Path, *, name: str) -> None:
        """See `_SegmentedOutput.finish`. Nothing is left to do: it is complete after every seal."""

    def _saved_statistics(self, done: int) -> dict[str, np.ndarray] | None:
        """The saved state of the statistics of `done` episodes.

        None if it is of another number: a kill may come between writing it and the dataset.
        """
        if not self._state.exists():
            return None
        with np.load(self._state, allow_pickle=False) as saved:
            if int(saved["episodes"]) != done:
                return None
            return {name: saved[name] for name in saved.files}


class _Segment:
    """A file or folder with the episodes from `first` on."""

    def __init__(self, path: Path, first: int, writer: RobomimicWriter | MinariWriter) -> None:
        self.path, self.first, self._writer = path, first, writer

    @property
    def after(self) -> int:
        """The episode after its last one."""
        return self.first + self._writer.num_episodes

    def add(self, episode: Episode) -> None:
        self._writer.add(episode)

    def close(self) -> None:
        self._writer.close()


class _SegmentedOutput:
    """Small HDF5 datasets in the staging folder, which are joined at the end without decoding."""

    def __init__(self, staging: Path, description: _Description, format: Format) -> None:
        self._staging, self._description, self._format = staging, description, format

    def sealed(self) -> int:
        """How many episodes are written safely."""
        return max((int(file.name.split("-")[2]) for file in self._segments()), default=0)

    def open(self, done: int) -> _Segment:
        """A writer of the episodes from `done` on."""
        path = self._staging / f"open-{done:08d}"
        return _Segment(path, done, self._new_writer(path))

    def seal(self, writer: DatasetWriter | _Segment) -> None:
        """Close a writer, and give its file the name of a complete segment."""
        assert isinstance(writer, _Segment)
        writer.close()
        writer.path.rename(self._staging / f"segment-{writer.first:08d}-{writer.after:08d}")

    def finish(self, whole: Path, *, name: str) -> None:
        """Join all segments to one dataset.

        Args:
            whole: the path of the dataset; if something is there, it is complete already.
            name: the name of the target, under which the dataset is written first.
        """
        if whole.exists():  # an earlier call was killed before it moved it to the target
            return
        building = self._staging / "building" / name
        building.parent.mkdir(exist_ok=True)
        joined = self._new_writer(building)
        for segment in self._segments():
            joined.take(segment)
        joined.close()
        building.rename(whole)

    def _segments(self) -> list[Path]:
        return sorted(self._staging.glob("segment-*"))

    def _new_writer(self, path: Path) -> RobomimicWriter | MinariWriter:
        """A writer of an empty dataset; one that a kill left unfinished is deleted."""
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        description = self._description
        writer = RobomimicWriter if self._format == "robomimic" else MinariWriter
        return writer(
            path,
            description.spec,
            fps=description.fps,
            tasks=description.tasks,
            environment=description.environment,
            expert=description.expert,
            **description.known,
        )
