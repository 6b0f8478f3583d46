"""Read a LeRobotDataset in an object store: files are fetched when they are needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from manyparts.core.errors import UserError
from manyparts.core.storage.atomic import temporary_folder
from manyparts.core.storage.caches import cache_root
from manyparts.core.storage.links import symlink_or_copy
from manyparts.data.formats.errors import Complain, one_line, refuse
from manyparts.data.formats.files import files_below
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.features import Plan
from manyparts.data.formats.lerobot.images import ImageCheck, check_image, check_pixels, content_of
from manyparts.data.formats.lerobot.locating import EpisodeRows, read_data_file, why_untrusted
from manyparts.data.formats.lerobot.metadata import Metadata, inside
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.formats.lerobot.searching import (
    SearchResult,
    episodes_in,
    metadata_faults,
    resolve_episodes,
)
from manyparts.data.video import pixel_format

_FOLDER = "set"


class RemoteReader(LeRobotReader):
    """See `formats.reader.Reader`.

    Fetched files stay in a temporary folder until `drop`, or until the reader is garbage-collected.

    Attributes:
        url: the URL of the dataset's folder.
    """

    def __init__(
        self, url: str, complain: Complain = refuse, *, cache_dir: str | Path | None = None
    ) -> None:
        """Fetch and read the meta folder.

        Args:
            url: the dataset's folder as fsspec takes it ("s3://bucket/set", "/local/set").
            complain: see `formats.errors.Complain`.
            cache_dir: where fetched files go; None: the default cache.

        Raises:
            UserError: naming the URL if the store or a file cannot be reached.
        """
        self.url = url.rstrip("/")
        self._fetching = threading.Lock()
        self._parts_by_file: dict[Path, Mapping[int, EpisodeRows]] = {}
        try:
            self._store, self._root = fsspec.core.url_to_fs(self.url)
            names = [
                name for name in self._store.find(f"{self._root}/meta") if not name.endswith("/")
            ]
        except Exception as error:  # each store has errors of its own
            raise UserError(f"{url} cannot be reached: {one_line(error)}") from error
        if not any(name.endswith(layout.INFO) for name in names):
            raise UserError(
                f"no LeRobotDataset at {url}: it has no {layout.INFO}; other formats are read "
                "only from a disk: `manyparts data convert` turns them into a LeRobotDataset"
            )
        holder = temporary_folder(cache_root(cache_dir) / "remote" / _FOLDER)
        self.removed = weakref.finalize(self, shutil.rmtree, holder, ignore_errors=True)
        self.path = holder / _FOLDER
        for name in names:
            self._get(name.removeprefix(self._root).lstrip("/"))
        super().__init__(self.path, complain)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        self.fetch(self.files_of([index], cameras=()))
        return super().columns(index)

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        self.fetch(self.files_of([index], cameras=[camera]))
        return super().frames(index, camera, rows)

    def texts(self, index: int, column: str) -> list[str | None]:
        self.fetch([self.metadata.data_files[index]])
        return super().texts(index, column)

    def files(self) -> Iterator[Path]:
        """The files of the meta folder. Their statistics differ if any other file does."""
        return files_below(self.path / "meta")

    def files_of(
        self, episodes: Iterable[int], *, cameras: Collection[str] | None = None
    ) -> list[Path]:
        """The local paths of the files that hold some episodes, whether fetched or not.

        Args:
            episodes: their indices.
            cameras: those with videos to list; None: all.
        """
        files: dict[Path, None] = {}
        for index in episodes:
            files[self.metadata.data_files[index]] = None
            for camera, feature in self._plan.cameras.items():
                if cameras is not None and camera not in cameras:
                    continue
                videos = self.metadata.videos.get(feature)
                video = None if videos is None else videos[index]
                if video is not None:
                    files[video.file] = None
        return list(files)

    def fetch(self, files: Iterable[Path]) -> None:
        """Fetch those files that are not here yet."""
        with self._fetching:
            for file in files:
                if not file.exists():
                    self._get(file.relative_to(self.path).as_posix())

    def drop(self, files: Iterable[Path]) -> None:
        """Delete fetched files."""
        for file in files:
            file.unlink(missing_ok=True)

    def _get(self, name: str) -> None:
        target = inside(self.path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.part")
        try:
            if isinstance(self._store, LocalFileSystem):
                os.stat(f"{self._root}/{name}")
                symlink_or_copy(os.path.abspath(f"{self._root}/{name}"), temporary)
            else:
                self._store.get_file(f"{self._root}/{name}", str(temporary))
            os.replace(temporary, target)
        except Exception as error:  # each store has errors of its own
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise UserError(f"{self.url}/{name} cannot be fetched: {one_line(error)}") from error

    def _search(self, metadata: Metadata, plan: Plan, complain: Complain) -> SearchResult:
        """Decide by metadata alone: data files are checked when they are read."""
        kept, tasks, lost = resolve_episodes(
            self.path, metadata, metadata_faults(metadata, plan), {}
        )
        return SearchResult(kept, tasks, lost)

    def _check_image(self, feature: str, index: int) -> ImageCheck:
        """Check an image or a video, fetching only the part of its file that this takes."""
        video = self.metadata.videos[feature][index] if feature in self.metadata.videos else None
        file = self.metadata.data_files[index] if video is None else video.file
        name = file.relative_to(self.path).as_posix()
        try:
            with self._store.open(f"{self._root}/{name}", "rb") as opened:
                if video is not None:
                    self._pixels[feature] = pixel_format(opened)
                    return check_pixels(self._pixels[feature], self.features[feature])
                batches = pq.ParquetFile(opened).iter_batches(
                    1, columns=[feature], use_threads=False
                )
                return check_image(content_of(next(iter(batches)).column(0)[0].as_py(), self.path))
        except Exception as error:  # each store has errors of its own
            raise UserError(f"{self.url}/{name} cannot be read: {one_line(error)}") from error

    def _rows(self, index: int) -> Sequence[EpisodeRows]:
        file, number = self.metadata.data_files[index], int(self.metadata.numbers[index])
        if file not in self._parts_by_file:
            self._parts_by_file[file] = episodes_in(self.metadata, file, read_data_file(file))
        parts = [part for name, part in self._parts_by_file[file].items() if name == number]
        if why := why_untrusted(parts, int(self.metadata.lengths[index])):
            raise UserError(
                f"{self.url}: episode {number} is not in {file.relative_to(self.path)}: {why}; "
                "download the dataset: on a disk, all its files are searched"
            )
        return parts

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("removed", "_fetching")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._fetching = threading.Lock()
