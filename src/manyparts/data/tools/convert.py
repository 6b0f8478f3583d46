"""Any dataset that can be read, written anew in another format: streaming, resumable, in place at
one stroke."""

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
from manyparts.core.progress import progress_bar
from manyparts.core.records import Episode
from manyparts.core.spec import Spec, TaskEntry
from manyparts.core.storage.atomic import disk_error, make_folder, write_atomically
from manyparts.core.storage.locked_folder import locked_folder
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, append
from manyparts.data.formats.hdf5 import require_h5py
from manyparts.data.formats.lerobot.writer import Images
from manyparts.data.formats.minari_writer import MinariWriter
from manyparts.data.formats.reader import FORMAT
from manyparts.data.formats.robomimic_writer import RobomimicWriter
from manyparts.data.tools.bounds import measured_bounds

Format = Literal["lerobot", "robomimic", "minari"]
Actions = Literal["executed", "expert"]
_SEAL_SECONDS = 30.0
_OUTDATED: Mapping[str, str] = {
    "reading": "another version of manyparts began it, which reads data otherwise"
}


def convert(
    source: str | Path | EpisodeDataset,
    target: str | Path,
    *,
    format: Format = "lerobot",
    images: Images = "png",
    embodiment: str | None = None,
    actions: Actions = "executed",
    seal_seconds: float = _SEAL_SECONDS,
) -> None:
    """Write the dataset at `source` to `target`, which must not exist.

    format: lerobot (LeRobotDataset v3.0; a folder), robomimic (an .hdf5 file) or minari (a folder).
    images: of lerobot only; video is lossy. embodiment: the robot's name, which is written; None:
    what the source says. actions: "executed" writes the executed actions, and the expert's next to
    them; "expert" writes the expert's as the action and no others, for programs that imitate
    `action`.

    What is done is sealed every `seal_seconds` seconds in `.TARGET.converting` beside the target,
    from which the same call goes on after a kill; memory holds one episode. What a version began
    that reads data otherwise begins anew. Raises UserError, with the target untouched, for a source
    that is torn, a target that exists, or a disk that is full.
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
    dataset = EpisodeDataset.open(source)
    dataset = dataset if embodiment is None else dataset.of_embodiment(embodiment)
    about = _about(dataset, actions)
    staging = target.with_name(f".{target.name}.converting")
    make_folder(staging)
    manifest: dict[str, Any] = {
        "source": dataset.location,
        "fingerprint": dataset.fingerprint,
        "format": format,
        "images": images,
    }
    manifest |= {} if embodiment is None else {"embodiment": embodiment}
    manifest |= {} if actions == "executed" else {"actions": actions}
    manifest |= {"reading": FORMAT}
    try:
        with locked_folder(staging, manifest, resettable=_OUTDATED):
            work = (
                _LeRobot(staging, about, images)
                if format == "lerobot"
                else _Segments(staging, about, format)
            )
            _write(dataset, work, about, seal_seconds)
            work.finish(staging / "whole", name=target.name)
            (staging / "whole").rename(target)
    except OSError as error:
        raise disk_error(error, target) from error
    shutil.rmtree(staging, ignore_errors=True)


@dataclass(frozen=True)
class _About:
    """What the target says of itself. expert: whether it has the expert's actions next to those
    that were executed."""

    spec: Spec
    fps: float
    tasks: tuple[TaskEntry, ...]
    environment: Mapping[str, Any]
    expert: bool

    def episode(self, episode: Episode) -> Episode:
        """An episode of the source as the target has it."""
        return episode if self.expert else replace(episode, action=episode.expert_action)


def _about(dataset: EpisodeDataset, actions: Actions) -> _About:
    spec = dataset.spec if actions == "executed" else _spec_of_expert(dataset)
    return _About(
        spec, dataset.fps, dataset.tasks, dataset.environment, expert=actions == "executed"
    )


def _spec_of_expert(dataset: EpisodeDataset) -> Spec:
    """The source's spec; bounds that are only measured are those of the expert's actions."""
    if EXPERT_ACTION not in dataset.columns(0):
        raise UserError(
            f"{dataset.location} has no {EXPERT_ACTION}, so its actions are the only ones; leave --actions expert out"
        )
    if not dataset.spec.action.measured:
        return dataset.spec
    low, high = measured_bounds(dataset, range(dataset.num_episodes), (EXPERT_ACTION,))
    return replace(dataset.spec, action=replace(dataset.spec.action, low=low, high=high))


def _write(
    dataset: EpisodeDataset, work: _LeRobot | _Segments, about: _About, seal_seconds: float
) -> None:
    """Add the episodes that are not sealed yet."""
    begun = done = work.sealed()
    began, total = time.monotonic(), dataset.num_episodes
    with progress_bar("converting", total) as bar:
        bar.show(done, "")
        while done < total:
            writer, first, until = work.open(done), done, time.monotonic() + seal_seconds
            while done < total and (done == first or time.monotonic() < until):
                writer.add(about.episode(dataset.episode(done)))
                done += 1
                frames = int(dataset.starts[done] - dataset.starts[begun])
                bar.show(done, f"{frames / (time.monotonic() - began):.0f} frames/s")
            work.seal(writer)
        bar.summary = f"converted {total} episodes, {dataset.num_frames} frames in {time.monotonic() - began:.1f} s"


class _LeRobot:
    """A whole dataset in the staging folder, to which episodes are appended; its statistics' state
    lies beside it."""

    def __init__(self, staging: Path, about: _About, images: Images) -> None:
        self._about = about
        self._images: Images = images
        self._whole, self._state = staging / "whole", staging / "statistics.npz"

    def sealed(self) -> int:
        return EpisodeDataset.open(self._whole).num_episodes if self._whole.exists() else 0

    def open(self, done: int) -> DatasetWriter:
        about = self._about
        if done:
            kept = self._kept(done)
            return append(
                self._whole,
                about.spec,
                fps=about.fps,
                tasks=about.tasks,
                environment=about.environment,
                statistics=kept,
            )
        return DatasetWriter(
            self._whole,
            about.spec,
            fps=about.fps,
            tasks=about.tasks,
            environment=about.environment,
            images=self._images,
            expert=about.expert,
        )

    def seal(self, writer: DatasetWriter | _Segment) -> None:
        assert isinstance(writer, DatasetWriter)
        content = io.BytesIO()
        np.savez(content, episodes=np.asarray(writer.num_episodes), **writer.statistics())  # pyright: ignore
        write_atomically(self._state, content.getbuffer())
        writer.close()

    def finish(self, whole: Path, *, name: str) -> None:
        """It is whole after every seal."""

    def _kept(self, done: int) -> dict[str, np.ndarray] | None:
        """The statistics' state, if it is of so many episodes: a kill may have come between the
        two."""
        if not self._state.exists():
            return None
        with np.load(self._state, allow_pickle=False) as kept:
            return (
                {name: kept[name] for name in kept.files} if int(kept["episodes"]) == done else None
            )


class _Segment:
    """Episodes from `first` on, in a file or folder of their own."""

    def __init__(self, path: Path, first: int, writer: RobomimicWriter | MinariWriter) -> None:
        self.path, self.first, self._writer = path, first, writer

    @property
    def after(self) -> int:
        return self.first + self._writer.num_episodes

    def add(self, episode: Episode) -> None:
        self._writer.add(episode)

    def close(self) -> None:
        self._writer.close()


class _Segments:
    """Small HDF5 datasets in the staging folder, put together at the end without decoding
    anything."""

    def __init__(self, staging: Path, about: _About, format: Format) -> None:
        self._staging, self._about, self._format = staging, about, format

    def sealed(self) -> int:
        return max((int(file.name.split("-")[2]) for file in self._segments()), default=0)

    def open(self, done: int) -> _Segment:
        path = self._staging / f"open-{done:08d}"
        return _Segment(path, done, self._new(path))

    def seal(self, writer: DatasetWriter | _Segment) -> None:
        assert isinstance(writer, _Segment)
        writer.close()
        writer.path.rename(self._staging / f"segment-{writer.first:08d}-{writer.after:08d}")

    def finish(self, whole: Path, *, name: str) -> None:
        if whole.exists():  # a kill came before it took its name
            return
        building = self._staging / "building" / name
        building.parent.mkdir(exist_ok=True)
        joined = self._new(building)
        for segment in self._segments():
            joined.take(segment)
        joined.close()
        building.rename(whole)

    def _segments(self) -> list[Path]:
        return sorted(self._staging.glob("segment-*"))

    def _new(self, path: Path) -> RobomimicWriter | MinariWriter:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        kind, about = (
            (RobomimicWriter if self._format == "robomimic" else MinariWriter),
            self._about,
        )
        return kind(
            path,
            about.spec,
            fps=about.fps,
            tasks=about.tasks,
            environment=about.environment,
            expert=about.expert,
        )
