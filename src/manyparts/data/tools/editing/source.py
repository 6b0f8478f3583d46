"""Open a LeRobotDataset v3.0 to edit it: all its columns, and where each episode is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.core.hub import fetch
from manyparts.core.naming import own_entry
from manyparts.core.printing import first_of
from manyparts.core.spec import Spec
from manyparts.data.formats.errors import format_errors, parquet_errors, read_json
from manyparts.data.formats.files import files_below
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.episode_table import episode_table
from manyparts.data.formats.lerobot.features import IMAGE_TYPES, Plan, with_lists
from manyparts.data.formats.lerobot.images import image_files_named
from manyparts.data.formats.lerobot.locating import EpisodeRows
from manyparts.data.formats.lerobot.metadata import Metadata, read_metadata
from manyparts.data.formats.lerobot.searching import find_episodes
from manyparts.data.formats.lerobot.tables import Tables
from manyparts.data.formats.lerobot.values import whole_column

HUB = "hf://"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")
_TASK, _TIME = "task_index", "timestamp"
_OF_NUMBERS = "missing episode numbers"  # a note on what editing mends: episodes are numbered again
_MAX_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset that is edited. Lists and arrays have one entry per episode that can be read."""

    name: str
    """The dataset as the user typed it, for messages."""
    path: Path
    """Its folder, without symbolic links."""
    features: Mapping[str, Mapping[str, Any]]
    """The description of each feature in info.json."""
    listed: Metadata
    """The metadata of all episodes that meta/episodes lists."""
    metadata: Metadata
    """The metadata of the episodes that can be read."""
    parts: Sequence[Sequence[EpisodeRows]]
    """Where the rows of each episode are."""
    tasks_chosen: np.ndarray
    """int64 (n,), the task of each episode, as a position in `metadata.tasks.entries`."""
    rows: pa.Table
    """meta/episodes with all its columns, one row per episode."""
    lost: Mapping[str, str]
    """All other episodes by name, and why they cannot be read."""
    statistics: Mapping[str, Any]
    """meta/stats.json; empty if it is missing or torn."""
    notes: Sequence[str]
    """What the files contradict, and what was taken."""
    tables: Tables
    """The data files."""

    @property
    def info(self) -> Mapping[str, Any]:
        """meta/info.json."""
        return self.metadata.info

    @property
    def own(self) -> Mapping[str, Any] | None:
        """What manyparts wrote into info.json; None if another program wrote the dataset."""
        return own_entry(self.info)

    @property
    def names(self) -> list[str]:
        """The recorded number of each episode, as text."""
        return [str(number) for number in self.metadata.numbers.tolist()]

    @property
    def is_hub(self) -> bool:
        """Whether it stands in the cache of the Hugging Face Hub."""
        return self.name.startswith(HUB)

    def of_type(self, *dtypes: str) -> list[str]:
        """The features of some dtypes, such as "video"."""
        return [name for name, item in self.features.items() if item.get("dtype") in dtypes]

    def read(self, position: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows of one episode, in the order of frame_index.

        Args:
            position: the episode.
            columns: the names of the columns; None: all.

        Raises:
            UserError: naming the file that is torn.
        """
        parts = self.parts[position]
        columns = self.tables.columns_of(parts) if columns is None else columns
        return self.tables.read(parts, columns, self.names[position])

    def times(self, position: int) -> np.ndarray:
        """The times of one episode's rows in seconds: stored, or else derived from the rate."""
        if _TIME in self.tables.columns_of(self.parts[position]):
            column = self.read(position, (_TIME,))[_TIME].combine_chunks()
            return np.asarray(column.to_pylist(), np.float64).reshape(-1)
        return np.arange(self.metadata.lengths[position]) / self.metadata.fps

    def tasks_of(self, position: int) -> set[int]:
        """The tasks of one episode, by its rows and by metadata, as positions in the entries."""
        tasks = {int(self.tasks_chosen[position])}
        tasks |= {task for task in self.metadata.listed[position] if task >= 0}
        known = self.metadata.tasks.positions
        for part in self.parts[position]:
            if part.tasks is not None and part.tasks.low != part.tasks.high:
                values = whole_column(self.read(position, (_TASK,)), _TASK, f"{part.file}: {_TASK}")
                return tasks | {known[value] for value in set(values.tolist()) if value in known}
            if part.tasks is not None and part.tasks.first in known:
                tasks.add(known[part.tasks.first])
        return tasks

    def all_files(self) -> Iterator[Path]:
        """All files of the folder, hidden ones too."""
        return files_below(self.path)

    @cached_property
    def files_of_episodes(self) -> frozenset[Path]:
        """The files of all episodes: rows, videos, and images that rows name."""
        files = self._files_of_rows | set(self.listed.data_files) | self.named_images
        for videos in self.listed.videos.values():
            files |= {video.file for video in videos if video is not None}
        return frozenset(files)

    @cached_property
    def named_images(self) -> frozenset[Path]:
        """The image files that rows name by their paths, instead of holding their bytes."""
        files: set[Path] = set()
        for feature in self.of_type("image"):
            for file in self._files_of_rows:
                with parquet_errors(file):
                    files |= set(image_files_named(file, feature, self.path))
        return frozenset(files)

    @property
    def _files_of_rows(self) -> frozenset[Path]:
        return frozenset(part.file for parts in self.parts for part in parts)

    @cached_property
    def state(self) -> dict[Path, tuple[int, int]]:
        """Size and time of change of each file, when this was first asked."""
        return self._state()

    def require_unchanged(self) -> None:
        """Raise UserError if a file has changed since `state` was first asked."""
        now = self._state()
        changed = sorted({path for path, _ in self.state.items() ^ now.items()})
        if changed:
            raise UserError(
                f"{self.name} was changed by another program meanwhile ({changed[0]}); nothing was "
                "written; try again when that has ended"
            )

    def _state(self) -> dict[Path, tuple[int, int]]:
        statuses = {path: path.stat() for path in self.all_files()}
        return {path: (status.st_size, status.st_mtime_ns) for path, status in statuses.items()}


def open_source(location: str | Path) -> Source:
    """Open a dataset to edit it.

    Args:
        location: its folder, or hf://owner/name@revision.

    Raises:
        UserError: there is none, it is no LeRobotDataset v3.0, or its files disagree.
    """
    text = str(location)
    path = fetch(text) if text.startswith(HUB) else path_of(location, "dataset")
    if _URL.match(text) and not path.exists():
        raise UserError(f"{text} is remote; download it first")
    if not path.exists():
        raise UserError(f"no dataset at {text}")
    if not (path / layout.INFO).is_file():
        raise UserError(f"{text} is no LeRobotDataset: {layout.INFO} is missing; {_converts(text)}")
    path = path.resolve()
    version = str(read_json(path / layout.INFO).get("codebase_version"))
    if version.startswith("v2."):
        raise UserError(
            f"{text} is a LeRobotDataset {version}, and only v3.0 is edited; convert it with "
            f"LeRobot's own script, which keeps everything, or {_converts(text)}"
        )

    def refuse(what: str, episode: str | None = None) -> None:
        advice = f"`manyparts data check {text} --fix COPY` writes a copy without the fault"
        raise UserError(f"{what}; {advice}")

    metadata = read_metadata(path, refuse)
    with format_errors(path / layout.INFO, "LeRobotDataset"):
        return _opened(text, path, metadata)


def require_readable(source: Source, *, deleted: Iterable[str] = ()) -> None:
    """Raise UserError if an episode cannot be read and is not deleted.

    Args:
        source: the dataset.
        deleted: the names of the episodes that are deleted.
    """
    lost = {name: why for name, why in source.lost.items() if name not in set(deleted)}
    if lost:
        reasons = first_of([f"{name} ({why})" for name, why in lost.items()], _MAX_SHOWN)
        numbers = " ".join(lost) if len(lost) <= _MAX_SHOWN else "..."
        raise UserError(
            f"{source.name} has episodes that cannot be read: {reasons}; leave them out with "
            f"`manyparts data delete {source.name} --episodes {numbers}`"
        )


def _opened(text: str, path: Path, metadata: Metadata) -> Source:
    """The record of a dataset that has been found."""
    features = with_lists(metadata.info["features"])
    for name, item in features.items():
        if not isinstance(item, Mapping) or not isinstance(item.get("shape"), list):
            raise UserError(f"{path / layout.INFO}: the feature {name} has no list as its shape")
        if item.get("dtype") == "video" and name not in metadata.videos:
            raise UserError(
                f"{text} has the videos {name}, and meta/episodes does not say in which files they "
                f"are; take the feature out of {layout.INFO}, or record it again"
            )
    if (own := own_entry(metadata.info)) is not None:
        Spec.from_dict(own["spec"])  # raises here rather than when everything is written
    images = [name for name, item in features.items() if item.get("dtype") in IMAGE_TYPES]
    # Whatever is an image or a video is searched, depth too, not only what an agent would see.
    plan = Plan(
        cameras={name: name for name in images}, state=(), action="", expert=None, further=()
    )
    result = find_episodes(path, metadata, plan, lambda what, episode=None: None)
    assert result.parts is not None
    try:
        statistics = read_json(path / layout.STATS)
    except UserError:
        statistics = {}
    return Source(
        name=text,
        path=path,
        features=features,
        listed=metadata,
        metadata=metadata.only(result.kept),
        parts=result.parts,
        tasks_chosen=result.tasks,
        rows=episode_table(path).take(result.kept),
        lost=result.lost,
        statistics=statistics,
        notes=tuple(note for note in result.notes if not note.startswith(_OF_NUMBERS)),
        tables=Tables(),
    )


def _converts(text: str) -> str:
    return f"`manyparts data convert {text} COPY` writes what manyparts reads of it as one"
