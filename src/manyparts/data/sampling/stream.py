"""Windows of a dataset that is remote or larger than the disk, a few files at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from manyparts.core.errors import UserError
from manyparts.core.randomness import mix, permute
from manyparts.core.records import Batch
from manyparts.core.spec import Spec
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.lerobot.remote import RemoteReader
from manyparts.data.sampling.base import FixedSource
from manyparts.data.sampling.batches import join_batches
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import decode_into
from manyparts.data.sampling.subset import SubsetReader
from manyparts.data.sampling.windows import Windows
from manyparts.embodiment.statistics import Statistics
from manyparts.embodiment.views.view import View

_MIN_UNITS = 2  # that are fetched together, so that windows of several files are mixed


@dataclass(frozen=True)
class _Pool:
    """Episodes of one epoch that are decoded together; their windows come in random order."""

    epoch: int
    """Counted from 0."""

    number: int
    """The index of this pool in its epoch."""

    episodes: np.ndarray
    """Indices of its episodes, ascending."""

    files: frozenset[Path]
    """The files that were fetched for it, and for other pools of the same group."""

    first: int
    """How many windows of the epoch come before it."""

    count: int
    """How many windows it has."""


class StreamedWindows(FixedSource):
    """The windows of a LeRobotDataset at a URL of fsspec's, or in a local folder.

    Files are fetched in groups of two or more, enough to hold `buffer_frames` frames. The episodes
    of a group are shuffled and cut into pools of about `buffer_frames` frames, which are decoded
    one by one. The windows of a pool come in random order, each once, before those of the next
    pool, which a thread prepares meanwhile. So the disk holds at most two groups of files and
    three decoded pools.

    The order is a pure function of (seed, reader, readers), so that training resumes to the sample.
    Going to another position costs as much as preparing one pool.

    Reader r of R has files r, r + R and so on, or episodes if there are fewer files than readers.
    No episode is read by two readers.

    Attributes:
        config: length of windows, and prompts.
        seed: of the order and of prompts.
        dataset: the whole dataset, of which only numbers without frames are here.
        num_windows: of this reader in an epoch.
    """

    def __init__(
        self,
        url: str,
        config: WindowConfig,
        *,
        seed: int,
        reader: int = 0,
        readers: int = 1,
        buffer_frames: int = 20_000,
        episodes: Sequence[int] | np.ndarray | None = None,
        statistics: Statistics | None = None,
        spec: Spec | None = None,
        view: View | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Open the dataset, without fetching frames.

        Args:
            url: of the dataset.
            config: length of windows, and prompts.
            seed: of the order and of prompts.
            reader: the index of this reader, in [0, readers).
            readers: how many readers share the windows.
            buffer_frames: about how many frames are decoded and shuffled at a time.
            episodes: indices of the episodes to draw from; None: all.
            statistics: by which states are normalised; None: the dataset's own.
            spec: of the agent that the windows are for, see `Spec.bounded_as`; None: the dataset's.
            view: what to show of the dataset, which touches no numbers; None: all.
            cache_dir: root of all caches; None: $MANYPARTS_CACHE, or ~/.cache/manyparts.

        Raises:
            UserError: an argument is out of its range, the URL cannot be reached, or the dataset
                has fewer episodes than there are readers.
        """
        if buffer_frames < 1:
            raise UserError(f"buffer_frames is {buffer_frames}; expected at least 1")
        if not 0 <= reader < readers:
            raise UserError(f"reader is {reader} of {readers}; expected 0 to {readers - 1}")
        self.config, self.seed, self._reader, self._readers = config, seed, reader, readers
        self._buffer_frames, self._statistics = buffer_frames, statistics
        self._remote = RemoteReader(url, cache_dir=cache_dir)
        self._folder = self._remote.path.parent
        whole = EpisodeDataset(self._remote).through(view or View())
        self.dataset = whole if spec is None else whole.bounded_as(spec)
        if episodes is None:
            episodes = range(self.dataset.num_episodes)
        self._units = self._units_of(episodes)
        lengths = self.dataset.reader.contents.lengths
        self._sizes = [int(lengths[unit].sum()) for unit in self._units]
        self.num_windows = sum(self._sizes)
        self._plans: dict[int, list[_Pool]] = {}
        self._thread = ThreadPoolExecutor(1)
        self._ready: dict[tuple[int, int], Future[Windows]] = {}

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """This rank's equal part of training step `step`'s batch, from this reader's windows.

        Args:
            step: counted from 0.
            batch_size: windows of all ranks of all readers together.
            rank: in [0, world_size), one of this reader's. The ranks of a reader follow each other.
            world_size: how many ranks share the batch, a multiple of the number of readers.

        Raises:
            UserError: the ranks cannot share a batch equally, or the readers the ranks.
        """
        if batch_size % world_size or world_size % self._readers:
            raise UserError(
                f"batch size {batch_size} does not divide among {world_size} processes, or these "
                f"among {self._readers} readers"
            )
        # Each step takes `parts` pieces of this reader's order, one for each of its ranks.
        size, parts = batch_size // world_size, world_size // self._readers
        start = (step * parts + rank - self._reader * parts) * size
        return self.at(np.arange(start, start + size))

    def at(self, positions: np.ndarray) -> Batch:
        """The windows at positions 0, 1, 2, ... of this reader since training started."""
        parts, rows = [], []
        for pool in self._pools_of(positions):
            start = self._start(pool)
            inside = np.flatnonzero((positions >= start) & (positions < start + pool.count))
            rows.append(inside)
            batch = self._windows(pool).at(positions[inside] - start)
            parts.append(replace(batch, window=self._in_dataset(pool, batch.window)))
            self._prepare(self._after(pool))
        return join_batches(parts, torch.from_numpy(np.concatenate(rows).argsort()))

    def fractions(self, step: int, batch_size: int) -> Mapping[str, float]:
        """See `WindowSource.fractions`. Empty, since all windows are of one dataset."""
        return {}

    def epochs(self, drawn: int) -> Mapping[str, float]:
        """How many times `drawn` windows of all readers together go through all."""
        return {"": drawn / self._readers / self.num_windows}

    def describe(self, window: int) -> str:
        """The episode, task and first frame of a window, for people. window: as in
        `Batch.window`."""
        episode = int(np.searchsorted(self.dataset.starts, window, side="right")) - 1
        first = window - int(self.dataset.starts[episode])
        task = self.dataset.tasks[self.dataset.episode_task[episode]]
        return f"episode {episode} ({task.name}), from frame {first}"

    def close(self) -> None:
        """Stop fetching and remove what was fetched."""
        self._thread.shutdown(cancel_futures=True)
        self._remote.removed()

    def _units_of(self, episodes: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """This reader's episodes in units that are fetched at once: those of the same files."""
        by_files: dict[tuple[Path, ...], list[int]] = {}
        for episode in map(int, episodes):
            by_files.setdefault(tuple(self._remote.files_of([episode])), []).append(episode)
        units = list(by_files.values())
        if len(units) < self._readers:
            units = [[int(episode)] for episode in episodes]
        if len(units) < self._readers:
            raise UserError(
                f"{self._remote.url} has {len(units)} episodes, too few for {self._readers} "
                "readers; train with fewer processes"
            )
        return [np.asarray(unit) for unit in units[self._reader :: self._readers]]

    def _pools(self, epoch: int) -> list[_Pool]:
        """The pools of an epoch in their order."""
        if epoch not in self._plans:
            # Plans of epochs far from this one will not be used again.
            near = {other: plan for other, plan in self._plans.items() if abs(other - epoch) <= 1}
            self._plans = near | {epoch: self._plan(epoch)}
        return self._plans[epoch]

    def _plan(self, epoch: int) -> list[_Pool]:
        """Shuffle the units of an epoch, group them, and cut each group's shuffled episodes into
        pools."""
        key = int(mix(np.asarray([epoch]), self.seed)[0])
        pools, first = [], 0
        units = permute(np.arange(len(self._units)), len(self._units), key)
        for group in self._groups(units.tolist()):
            episodes = np.concatenate([self._units[unit] for unit in group])
            files = frozenset(self._remote.files_of(episodes.tolist()))
            episodes = episodes[permute(np.arange(len(episodes)), len(episodes), key + first)]
            lengths = self.dataset.reader.contents.lengths[episodes]
            parts = -(-int(lengths.sum()) // self._buffer_frames)  # rounded up
            # An episode is in the part that its first frame is in, when all frames of the group are
            # cut into equal parts.
            part = (lengths.cumsum() - lengths) * parts // lengths.sum()
            for number in np.unique(part):
                inside = part == number
                pool = _Pool(
                    epoch=epoch,
                    number=len(pools),
                    episodes=np.sort(episodes[inside]),
                    files=files,
                    first=first,
                    count=int(lengths[inside].sum()),
                )
                pools.append(pool)
                first += pool.count
        return pools

    def _groups(self, units: Sequence[int]) -> Iterator[list[int]]:
        """Yield units that are fetched together, at least `buffer_frames` frames but for the last
        group."""
        group: list[int] = []
        for unit in units:
            group.append(unit)
            frames = sum(self._sizes[each] for each in group)
            if len(group) >= _MIN_UNITS and frames >= self._buffer_frames:
                yield group
                group = []
        if group:
            yield group

    def _pools_of(self, positions: np.ndarray) -> list[_Pool]:
        """The pools, in their order, that positions from the lowest to the highest fall into."""
        lowest, highest = int(positions.min()), int(positions.max())
        pools = []
        for epoch in range(lowest // self.num_windows, highest // self.num_windows + 1):
            for pool in self._pools(epoch):
                start = self._start(pool)
                if start <= highest and start + pool.count > lowest:
                    pools.append(pool)
        return pools

    def _start(self, pool: _Pool) -> int:
        """The position of a pool's first window since training started."""
        return pool.epoch * self.num_windows + pool.first

    def _after(self, pool: _Pool) -> _Pool:
        """The next pool, which may be of the next epoch."""
        pools = self._pools(pool.epoch)
        if pool.number + 1 < len(pools):
            return pools[pool.number + 1]
        return self._pools(pool.epoch + 1)[0]

    def _windows(self, pool: _Pool) -> Windows:
        """The windows of a pool, once it is prepared."""
        self._prepare(pool)
        return self._ready[pool.epoch, pool.number].result()

    def _prepare(self, pool: _Pool) -> None:
        """Let the thread fetch a pool, and remove all others but the two before: parts of a batch
        at the border of two pools turn from one to the other."""
        key = (pool.epoch, pool.number)
        if key in self._ready:
            return
        for old in list(self._ready)[:-2]:
            self._thread.submit(self._remove, self._ready.pop(old), self._folder_of(old))
        self._ready[key] = self._thread.submit(self._fetch, pool, self._folder_of(key))

    def _folder_of(self, key: tuple[int, int]) -> Path:
        return self._folder / f"pool-{key[0]}-{key[1]}"

    def _fetch(self, pool: _Pool, folder: Path) -> Windows:
        """Fetch and decode a pool, and drop the files that the next one does not need."""
        episodes = EpisodeDataset(SubsetReader(self.dataset.reader, pool.episodes))
        dataset = episodes.bounded_as(self.dataset.spec)
        cache = decode_into(dataset, folder)
        self._remote.drop(pool.files - self._after(pool).files)
        seed = int(mix(np.asarray([pool.epoch, pool.number]), self.seed)[1] >> np.uint64(1))
        statistics = self._statistics or self.dataset.statistics
        return Windows(dataset, cache, self.config, seed=seed + pool.epoch, statistics=statistics)

    def _remove(self, windows: Future[Windows], folder: Path) -> None:
        """Remove a pool's frames. The thread has finished with it, since it does one job at a
        time."""
        if not windows.cancelled():
            shutil.rmtree(folder, ignore_errors=True)

    def _in_dataset(self, pool: _Pool, window: torch.Tensor) -> torch.Tensor:
        """Windows of a pool, by first frame in it, as first frames in the whole dataset."""
        lengths = self.dataset.reader.contents.lengths[pool.episodes]
        starts = np.concatenate([[0], lengths.cumsum()])
        inside = np.searchsorted(starts, window.numpy(), side="right") - 1
        return torch.from_numpy(
            self.dataset.starts[pool.episodes[inside]] + window.numpy() - starts[inside]
        )
