"""Some episodes of a dataset, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from manyparts.data.formats.reader import Reader


class SubsetReader:
    """See `formats.reader.Reader`. episodes: of `reader`, in the order in which they are counted
    here."""

    def __init__(self, reader: Reader, episodes: Sequence[int] | np.ndarray) -> None:
        self.path, self._reader, self._episodes = (
            reader.path,
            reader,
            np.asarray(episodes, dtype=np.int64),
        )
        known = reader.contents
        per_episode = ("lengths", "episode_task", "seeds", "noisy", "succeeded")
        values = {name: getattr(known, name) for name in per_episode}
        kept = {
            name: None if array is None else array[self._episodes] for name, array in values.items()
        }
        names = (
            tuple(known.episode_names[index] for index in self._episodes)
            if known.episode_names
            else ()
        )
        self.contents = replace(known, episode_names=names, **kept)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        return self._reader.columns(int(self._episodes[index]))

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        return self._reader.frames(int(self._episodes[index]), camera, rows)

    def files(self) -> Sequence[Path]:
        return list(self._reader.files())
