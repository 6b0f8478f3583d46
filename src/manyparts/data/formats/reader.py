"""What every format gives: contents that are known before a frame is read, and episodes that are
read in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from manyparts.core.printing import first_of, shown_short
from manyparts.core.spec import Spec, TaskEntry
from manyparts.embodiment.statistics import Statistics

FORMAT = (
    2  # counts up whenever a dataset is read differently: what was made of it before is made anew
)
_SHOWN = 5


@shown_short
@dataclass(frozen=True)
class Contents:
    """What a dataset says of itself. format, images: for people, such as "LeRobotDataset v3.0" and
    "png".

    lengths: int64 (n,), frames an episode. episode_task: int64 (n,), index into `tasks`.
    statistics: of the columns by their names above. environment: the EnvConfig as JSON, {} where
    others wrote. seeds: int64 (n,), the environments' reset seeds, -1 where unknown. noisy: bool
    (n,), episodes in which another action than the expert's was done. succeeded: bool (n,), None
    where nobody wrote it down.

    left_out: what of each step is not read, by its name, and why: {"observation.images.depth":
    "16-bit depth"}. episodes_left_out: episodes that are not among the n, by the name that the
    dataset gives them, and why. episode_names: the dataset's own names of the n episodes, such as
    "demo_3"; empty: their numbers 0 to n - 1. notes: what else a user has to know, an instruction
    each: splits that were joined, instructions that were dropped.
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
    left_out: Mapping[str, str] = field(default_factory=dict)
    episodes_left_out: Mapping[str, str] = field(default_factory=dict)
    episode_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def name_of(self, index: int) -> str:
        """What the dataset calls one of the n episodes."""
        return self.episode_names[index] if self.episode_names else str(index)

    def warnings(self) -> list[str]:
        """A note for each thing that is in the files and is not read, or is read otherwise than one
        may think."""
        left_out = [f"left out {_some(self.left_out)}"] if self.left_out else []
        episodes = (
            [f"left out episodes {_some(self.episodes_left_out)}"] if self.episodes_left_out else []
        )
        return [*episodes, *left_out, *self.notes]


def _some(reasons: Mapping[str, str]) -> str:
    return first_of([f"{name} ({why})" for name, why in reasons.items()], _SHOWN)


@runtime_checkable
class Reader(Protocol):
    """An opened dataset of some format, read-only. Safe across threads, and can be sent to another
    process."""

    path: Path
    contents: Contents

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """One episode's numbers, (T,) or (T, d) in the stored dtype, by the column names above and
        the format's own.

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
