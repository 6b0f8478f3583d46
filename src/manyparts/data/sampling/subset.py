"""Some episodes of a dataset, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from manyparts.data.formats.reader import Reader


class SubsetReader:
    """A `formats.reader.Reader` of some episodes of another one.

    Attributes:
        path: of the other reader.
        contents: its contents, for the chosen episodes.
    """

    def __init__(self, reader: Reader, episodes: Sequence[int] | np.ndarray) -> None:
        """Choose episodes of `reader` by index; episode i here is its episode `episodes[i]`."""
        self.path, self._reader = reader.path, reader
        self._episodes = np.asarray(episodes, dtype=np.int64)
        contents = reader.contents
        names: tuple[str, ...] = ()
        if contents.episode_names:
            names = tuple(contents.episode_names[index] for index in self._episodes)
        self.contents = replace(
            contents,
            episode_names=names,
            lengths=contents.lengths[self._episodes],
            episode_task=contents.episode_task[self._episodes],
            seeds=self._chosen(contents.seeds),
            noisy=self._chosen(contents.noisy),
            succeeded=self._chosen(contents.succeeded),
            terminated=self._chosen(contents.terminated),
        )

    def _chosen(self, values: np.ndarray | None) -> np.ndarray | None:
        """The chosen episodes' values (episodes,), where these are recorded."""
        return None if values is None else values[self._episodes]

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """See `Reader.columns`."""
        return self._reader.columns(int(self._episodes[index]))

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        """See `Reader.frames`."""
        return self._reader.frames(int(self._episodes[index]), camera, rows)

    def files(self) -> Sequence[Path]:
        """All files of the other reader."""
        return list(self._reader.files())
