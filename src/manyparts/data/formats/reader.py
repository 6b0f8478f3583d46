"""What every format gives: contents that are known before a frame is read, and episodes that are read in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from manyparts.data.statistics import Statistics
from manyparts.types import Spec, TaskEntry

STATE = "observation.state"
IMAGES = "observation.images."
ACTION = "action"
EXPERT_ACTION = "action.expert"
REWARD = "next.reward"
DONE = "next.done"
SUCCESS = "next.success"


@dataclass(frozen=True)
class Contents:
    """What a dataset says of itself. format, images: for people, such as "LeRobotDataset v3.0" and "png".

    lengths: int64 (n,), frames an episode. episode_task: int64 (n,), index into `tasks`. statistics: of the columns by
    their names above. environment: the EnvConfig as JSON, {} where others wrote. seeds: int64 (n,), the environments'
    reset seeds, -1 where unknown. noisy: bool (n,), episodes in which another action than the expert's was done.
    succeeded: bool (n,), None where nobody wrote it down. ignored: arrays that are neither pictures nor numbers for the
    state, such as depth and text.
    """

    format: str
    spec: Spec
    fps: float
    tasks: tuple[TaskEntry, ...]
    lengths: np.ndarray
    episode_task: np.ndarray
    statistics: Statistics
    images: str
    environment: Mapping[str, Any] = field(default_factory=dict)
    seeds: np.ndarray | None = None
    noisy: np.ndarray | None = None
    succeeded: np.ndarray | None = None
    ignored: tuple[str, ...] = ()


@runtime_checkable
class Reader(Protocol):
    """An opened dataset of some format, read-only. Safe across threads, and can be sent to another process."""

    path: Path
    contents: Contents

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """One episode's numbers, (T,) or (T, d) in the stored dtype, by the column names above and the format's own.

        Raises UserError naming the file that is torn, as `frames` does.
        """
        ...

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        """Some rows, ascending, of one episode's images of one camera: uint8 (n, h, w, 3)."""
        ...

    def files(self) -> Iterator[Path] | Sequence[Path]:
        """All files that hold the dataset's content."""
        ...


@runtime_checkable
class Remote(Protocol):
    """A reader of a dataset that lies elsewhere."""

    url: str
