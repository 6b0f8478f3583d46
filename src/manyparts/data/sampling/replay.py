"""Episodes on disk that grow while an agent acts, bounded in size.

Each episode is one file, and the newest whole episodes that fit into the bound are drawn from.
What is drawn is a pure function of (seed, step, how many episodes there are).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Episode
from manyparts.core.spec import Spec
from manyparts.core.storage.atomic import atomic_file, make_folder, write_atomically
from manyparts.data.sampling.rows import read_at

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
        num_frames: Rows that can be drawn.
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
        self.num_added = self.num_frames = 0
        self._described = _columns_of(spec, self.recorded)
        self._bytes = _bytes_of(self._described)
        self._folder_of_episodes = f"{folder / EPISODES}{os.sep}"
        for line in self._lines():
            self._count(ReplayedEpisode(**json.loads(line)))

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
        where = (episode.task, episode.seed)
        require_finite(*where, "reward", episode.reward[:, None], ("reward",))
        require_finite(*where, "state", episode.state, self.spec.state_names)
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
        with atomic_file(Path(self._name(entry.number))) as temporary, temporary.open("wb") as file:
            for name, (shape, dtype) in self._described.items():
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
        self.episodes, self.num_added, self.num_frames = [], 0, 0
        for line in lines[:count]:
            self._count(ReplayedEpisode(**json.loads(line)))

    def delete_unused(self) -> None:
        """Delete the files of episodes beyond the bound. Call it when a checkpoint was written: a
        run that resumes from an earlier one still draws from them."""
        used = {each.number for each in self.episodes}
        for path in (self.folder / EPISODES).iterdir():
            if path.stem.isdigit() and int(path.stem) not in used:
                path.unlink()

    def row(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """The shape and the dtype of a row of a column.

        Args:
            name: "state", "action", "reward", "success", a camera after "images/", or what was
                recorded.
        """
        shape, dtype = self._described[name]
        return shape, np.dtype(dtype)

    def read_into(self, number: int, start: int, out: Mapping[str, np.ndarray]) -> None:
        """Read rows of an episode that follow each other.

        Its file is open no longer than that: a long run has more episodes than a process may have
        open files.

        Args:
            number: Of the episode.
            start: The first row.
            out: Column to a C-contiguous array (rows, ...), see `row`.

        Raises:
            UserError: The file is gone or too short.
        """
        length, path = self._length(number), self._name(number)
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        try:
            for name, values in out.items():
                before, size = self._bytes[name]
                assert start + len(values) <= length, (number, start, len(values))
                assert values.nbytes == len(values) * size, (name, values.shape, values.dtype)
                if not read_at(file, values, before * length + start * size):
                    raise UserError(f"{path} is shorter than its {length} steps")
        finally:
            os.close(file)

    def columns(self, number: int, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Whole columns of an episode, by name. names: see `row`; None: all."""
        length = self._length(number)
        out = {}
        for name in self._described if names is None else names:
            shape, dtype = self.row(name)
            out[name] = np.empty((length, *shape), dtype)
        self.read_into(number, 0, out)
        return out

    def read(self) -> Iterator[tuple[ReplayedEpisode, Episode]]:
        """Every episode that can be drawn, oldest first, without what was recorded."""
        for entry in self.episodes:
            columns = self.columns(entry.number)
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
        self.num_frames += entry.length
        while self.num_frames > self.max_frames and len(self.episodes) > 1:
            self.num_frames -= self.episodes.pop(0).length

    def _length(self, number: int) -> int:
        place = number - self.episodes[0].number
        assert 0 <= place < len(self.episodes), f"episode {number} cannot be drawn"
        return self.episodes[place].length

    def _name(self, number: int) -> str:
        """The path of an episode's file. To join paths would take as long as to open it."""
        return f"{self._folder_of_episodes}{number:06d}.rows"


def row_bytes(spec: Spec, recorded: Mapping[str, tuple[int, ...]]) -> int:
    """How many bytes a step takes in a replay. spec, recorded: see `Replay`."""
    return sum(size for _, size in _bytes_of(_columns_of(spec, recorded)).values())


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


def _bytes_of(
    columns: Mapping[str, tuple[tuple[int, ...], str]],
) -> dict[str, tuple[int, int]]:
    """Name to the bytes of a step in all columns before this one, and in this one."""
    sizes, before = {}, 0
    for name, (shape, dtype) in columns.items():
        size = math.prod(shape) * np.dtype(dtype).itemsize
        sizes[name] = before, size
        before += size
    return sizes


def require_finite(
    task: str, seed: int, kind: str, values: np.ndarray, names: Sequence[str], *, first: int = 0
) -> None:
    """Require that all numbers of steps are finite.

    Args:
        task: "suite/task".
        seed: The environment's reset seed.
        kind: What the numbers are, "reward" or "state".
        values: (T, n).
        names: Of the n numbers.
        first: The number of the first of these steps.

    Raises:
        UserError: One is not, and the message names it.
    """
    finite = np.isfinite(values)
    if finite.all():
        return
    step, number = np.argwhere(~finite)[0].tolist()
    what = kind if kind == names[number] else f"{kind} {names[number]}"
    raise UserError(
        f"{task}: the {what} of step {first + step} is {values[step, number]}, in the episode of "
        f"seed {seed}; expected finite numbers"
    )


def _column(episode: Episode, name: str) -> np.ndarray:
    """A column of an episode, as it stands in a file."""
    if name.startswith("images/"):
        return episode.images[name.removeprefix("images/")].transpose(0, 3, 1, 2)
    return getattr(episode, name)
