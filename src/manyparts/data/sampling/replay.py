"""Episodes on disk that grow while an agent acts, bounded in size.

Each episode is one file, and the newest whole episodes that fit into the bound are drawn from.
What is drawn is a pure function of (seed, step, how many episodes there are).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Episode
from manyparts.core.spec import Spec
from manyparts.core.storage.atomic import atomic_file, make_folder, write_atomically
from manyparts.data.sampling.rows import RowFile

INDEX, EPISODES, DESCRIPTION = "index.jsonl", "episodes", "replay.json"
REPLAY, SOURCES = "replay", "sources"  # folders of a run: its own replay, and a copy per source


@dataclass(frozen=True)
class ReplayedEpisode:
    """One episode of a replay."""

    number: int
    """Its number, from 0 in the order in which episodes ended."""

    task: str
    """"suite/task"."""

    instruction: str
    """The text that asks for the task."""

    seed: int
    """The environment's reset seed."""

    length: int
    """Decisions, each one row."""

    terminated: bool
    """Whether it ended for good, and was not only cut off."""

    success: bool
    """Whether the task was solved after any step."""

    return_: float
    """The sum of rewards."""


class Replay:
    """See the module.

    Attributes:
        folder: Where the episodes lie.
        spec: The embodiment that acted.
        max_frames: The bound, in rows; at least the newest episode is kept.
        episodes: Those that can be drawn, oldest first.
        num_added: How many episodes were ever added.
    """

    def __init__(
        self,
        folder: Path,
        spec: Spec,
        *,
        max_frames: int,
        recorded: Mapping[str, tuple[int, ...]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a replay, or begin one.

        Args:
            folder: Of the replay, which may not be there yet.
            spec: The embodiment.
            max_frames: The bound.
            recorded: Name to the shape of what the agent notes at each step, such as features.
            about: What `open_replay` gives back with it, as JSON values.

        Raises:
            UserError: The folder cannot be made, or its index cannot be read.
        """
        self.folder, self.spec, self.max_frames = folder, spec, max_frames
        self.recorded = dict(recorded or {})
        make_folder(folder / EPISODES)
        if not (folder / DESCRIPTION).exists():
            described = {
                "spec": spec.to_dict(),
                "max_frames": max_frames,
                "recorded": self.recorded,
                "about": dict(about or {}),
            }
            write_atomically(folder / DESCRIPTION, json.dumps(described, indent=1).encode())
        self.episodes: list[ReplayedEpisode] = []
        self.num_added = 0
        self._files: dict[tuple[int, str], RowFile] = {}
        for line in self._lines():
            self._count(ReplayedEpisode(**json.loads(line)))

    @property
    def num_frames(self) -> int:
        """Rows that can be drawn."""
        return sum(each.length for each in self.episodes)

    def add(
        self,
        episode: Episode,
        *,
        recorded: Mapping[str, np.ndarray] | None = None,
    ) -> ReplayedEpisode:
        """Write an episode, the whole file or none, and then its line in the index.

        Args:
            episode: What was seen and done.
            recorded: Name to what the agent noted, one row per step.

        Raises:
            UserError: The disk refuses, or a reward or a state is not finite.
        """
        _require_finite(episode, "reward", episode.reward[:, None], ("reward",))
        _require_finite(episode, "state", episode.state, self.spec.state_names)
        entry = ReplayedEpisode(
            number=self.num_added,
            task=episode.task,
            instruction=episode.instruction,
            seed=episode.seed,
            length=len(episode),
            terminated=bool(episode.terminated),
            success=bool(episode.success.any()),
            return_=float(episode.reward.sum()),
        )
        noted = dict(recorded or {})
        assert noted.keys() == self.recorded.keys(), (noted.keys(), self.recorded.keys())
        with atomic_file(self._path(entry.number)) as temporary, temporary.open("wb") as file:
            for name, (shape, dtype) in self._columns().items():
                values = noted[name] if name in noted else _column(episode, name)
                assert values.shape == (len(episode), *shape), (name, values.shape, shape)
                file.write(np.ascontiguousarray(values, dtype).data.cast("B"))
        try:
            with (self.folder / INDEX).open("a") as index:
                index.write(json.dumps(asdict(entry)) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {self.folder / INDEX}: {error.strerror}") from error
        self._count(entry)
        return entry

    def truncate(self, count: int) -> None:
        """Forget all but the first `count` episodes that were added, as a resumed run must."""
        lines = self._lines()
        assert len(lines) >= count, (len(lines), count)
        write_atomically(self.folder / INDEX, "".join(lines[:count]).encode())
        for path in (self.folder / EPISODES).iterdir():
            if not path.stem.isdigit() or int(path.stem) >= count:
                path.unlink()
        self.episodes, self.num_added = [], 0
        self._files.clear()
        for line in lines[:count]:
            self._count(ReplayedEpisode(**json.loads(line)))

    def delete_unused(self) -> None:
        """Delete the files of episodes beyond the bound. Call it when a checkpoint was written: a
        run that resumes from an earlier one still draws from them."""
        used = {each.number for each in self.episodes}
        for path in (self.folder / EPISODES).iterdir():
            if path.stem.isdigit() and int(path.stem) not in used:
                path.unlink()

    def rows(self, number: int, name: str) -> RowFile:
        """The rows of a column of an episode.

        Args:
            number: Of the episode.
            name: "state", "action", "reward", a camera after "images/", or what was recorded.
        """
        if (number, name) not in self._files:
            length, offset = self._length(number), 0
            for column, (shape, dtype) in self._columns().items():
                rows = RowFile(self._path(number), shape, dtype, length, offset)
                offset += length * rows.row_bytes
                self._files[number, column] = rows
        return self._files[number, name]

    def read(self) -> Iterator[tuple[ReplayedEpisode, Episode]]:
        """Every episode that can be drawn, oldest first, without what was recorded."""
        for entry in self.episodes:
            columns = {
                name: self.rows(entry.number, name).read(0, entry.length)
                for name in self._columns()
            }
            yield (
                entry,
                Episode(
                    task=entry.task,
                    instruction=entry.instruction,
                    seed=entry.seed,
                    images={
                        name: np.ascontiguousarray(columns[f"images/{name}"].transpose(0, 2, 3, 1))
                        for name in self.spec.cameras
                    },
                    state=columns["state"],
                    action=columns["action"],
                    expert_action=columns["action"],
                    reward=columns["reward"],
                    success=columns["success"].astype(bool),
                    terminated=entry.terminated,
                ),
            )

    def _lines(self) -> list[str]:
        """The whole lines of the index. One that a kill left half-written is no episode."""
        index = self.folder / INDEX
        text = index.read_text() if index.exists() else ""
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _count(self, entry: ReplayedEpisode) -> None:
        """Add an entry, and let go of the oldest ones beyond the bound."""
        self.episodes.append(entry)
        self.num_added += 1
        while self.num_frames > self.max_frames and len(self.episodes) > 1:
            old = self.episodes.pop(0)
            for name in self._columns():
                self._files.pop((old.number, name), None)

    def _length(self, number: int) -> int:
        return self.episodes[number - self.episodes[0].number].length

    def _path(self, number: int) -> Path:
        return self.folder / EPISODES / f"{number:06d}.rows"

    def _columns(self) -> dict[str, tuple[tuple[int, ...], str]]:
        return _columns_of(self.spec, self.recorded)


def row_bytes(spec: Spec, recorded: Mapping[str, tuple[int, ...]]) -> int:
    """How many bytes a step takes in a replay. spec, recorded: see `Replay`."""
    columns = _columns_of(spec, recorded).values()
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in columns)


def open_replay(folder: Path) -> tuple[Replay, dict[str, Any]]:
    """Open the replay of a folder by what stands there.

    Args:
        folder: The replay's.

    Returns:
        The replay, and what its maker said about it.

    Raises:
        UserError: There is no replay, or its description cannot be read.
    """
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        spec = Spec.from_dict(values["spec"])
        recorded = {name: tuple(shape) for name, shape in values["recorded"].items()}
        replay = Replay(folder, spec, max_frames=values["max_frames"], recorded=recorded)
        return replay, values["about"]
    except FileNotFoundError:
        raise UserError(f"{folder} is no replay: {DESCRIPTION} is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _columns_of(
    spec: Spec, recorded: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name to the shape and the dtype of a row, in the order of the file."""
    columns: dict[str, tuple[tuple[int, ...], str]] = {
        "state": ((spec.state_dimension,), "f4"),
        "action": ((spec.action.dimension,), "f4"),
        "reward": ((), "f4"),
        "success": ((), "u1"),
    }
    columns |= {name: (shape, "f2") for name, shape in recorded.items()}
    columns |= {f"images/{name}": ((3, *size), "u1") for name, size in spec.cameras.items()}
    return columns


def _require_finite(episode: Episode, kind: str, values: np.ndarray, names: Sequence[str]) -> None:
    """Raise UserError naming the first number of an episode (T, n) that is not finite."""
    if np.isfinite(values).all():
        return
    step, number = np.argwhere(~np.isfinite(values))[0].tolist()
    what = kind if kind == names[number] else f"{kind} {names[number]}"
    raise UserError(
        f"{episode.task}: the {what} of step {step} is {values[step, number]}, in the episode of "
        f"seed {episode.seed}; expected finite numbers"
    )


def _column(episode: Episode, name: str) -> np.ndarray:
    """A column of an episode, as it stands in a file."""
    if name.startswith("images/"):
        return episode.images[name.removeprefix("images/")].transpose(0, 3, 1, 2)
    return getattr(episode, name)
