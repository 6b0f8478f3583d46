"""A LeRobotDataset in an object store: its meta folder is fetched at once, other files when they are needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import fsspec

from understudy.data.formats.errors import one_line
from understudy.data.formats.lerobot import layout
from understudy.data.formats.lerobot.reader import LeRobotReader
from understudy.types import UserError


class RemoteReader(LeRobotReader):
    """See `formats.reader.Reader`. url: of the dataset's folder, as fsspec knows it ("s3://bucket/set", "file:///set").

    folder: an empty local one for what is fetched. Reads only what `fetch` has brought. Raises UserError naming the URL
    if the store or a file cannot be reached.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url.rstrip("/")
        try:
            self._store, self._root = fsspec.core.url_to_fs(self.url)
            names = [name for name in self._store.find(f"{self._root}/meta") if not name.endswith("/")]
        except Exception as error:  # each store has errors of its own
            raise UserError(f"{url} cannot be reached: {one_line(error)}") from error
        if not any(name.endswith(layout.INFO) for name in names):
            raise UserError(f"no LeRobotDataset at {url}: it has no {layout.INFO}")
        self.path = folder
        for name in names:
            self._get(name.removeprefix(self._root).lstrip("/"))
        super().__init__(folder)

    def files_of(self, episodes: Iterable[int]) -> list[Path]:
        """The local names of the files in which episodes lie."""
        found: dict[Path, None] = {}
        for index in episodes:
            found[self.metadata.data_files[index]] = None
            found |= {videos[index].file: None for videos in self.metadata.videos.values()}
        return list(found)

    def fetch(self, files: Iterable[Path]) -> None:
        """Bring files here that are not."""
        for file in files:
            if not file.exists():
                self._get(file.relative_to(self.path).as_posix())

    def drop(self, files: Iterable[Path]) -> None:
        """Remove files that were brought."""
        for file in files:
            file.unlink(missing_ok=True)

    def _get(self, name: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.part")
        try:
            self._store.get_file(f"{self._root}/{name}", str(temporary))
            os.replace(temporary, target)
        except Exception as error:  # each store has errors of its own
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise UserError(f"{self.url}/{name} cannot be fetched: {one_line(error)}") from error

    def _check_files(self, complain: object) -> None:
        """Nothing is here yet; a file is checked when it is read."""
        self._count_rows()
