"""Windows of a dataset larger than the disk: a few files at a time are fetched, shuffled, served
and dropped."""

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
from manyparts.data.sampling.batches import join_batches
from manyparts.data.sampling.frames import decode_into
from manyparts.data.sampling.subset import SubsetReader
from manyparts.data.sampling.windows import WindowConfig, Windows
from manyparts.embodiment.statistics import Statistics

_LEAST_UNITS = 2


@dataclass(frozen=True)
class _Pool:
    """Episodes of one epoch whose windows are shuffled among themselves. first: windows of the
    epoch before it. files: those that it and its neighbours of the same files lie in."""

    epoch: int
    number: int
    episodes: np.ndarray
    files: frozenset[Path]
    first: int
    count: int


class StreamedWindows:
    """Stands in for `Windows` of a LeRobotDataset at a URL of fsspec's, or in a local folder.

    episodes: those that are drawn from; None: all. Two files or more are fetched at a time, so many
    that they hold `buffer_frames` frames; their episodes, shuffled, make pools of about so many
    frames, which are decoded; the windows of a pool come in random order, each once, before the
    next pool's, which a thread prepares meanwhile. So the disk holds two such sets of files, and
    two decoded pools. Which window comes when is a pure function of (seed, reader, readers), so
    training resumes to the sample: a place elsewhere costs preparing one pool. Reader r of R has
    files r, r + R and so on; where files are fewer than readers, episodes instead. No episode is
    read by two.

    spec: of the agent that these are for; see `Spec.bounded_as`. Raises UserError if the URL cannot
    be reached, or has fewer episodes than there are readers.
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
        cache_dir: str | Path | None = None,
    ) -> None:
        if buffer_frames < 1 or not 0 <= reader < readers:
            raise UserError(
                f"buffer_frames is {buffer_frames}, reader {reader} of {readers}; expected 1 or more, 0 to readers"
            )
        self.config, self.seed, self._reader, self._readers = config, seed, reader, readers
        self._buffer_frames, self._statistics = buffer_frames, statistics
        self._remote = RemoteReader(url, cache_dir=cache_dir)
        self._folder = self._remote.path.parent
        whole = EpisodeDataset(self._remote)
        self.dataset = whole if spec is None else whole.bounded_as(spec)
        self._units = self._shared_out(
            range(self.dataset.num_episodes) if episodes is None else episodes
        )
        lengths = self.dataset.reader.contents.lengths
        self._sizes = [int(lengths[unit].sum()) for unit in self._units]
        self.num_windows = sum(self._sizes)
        self._plans: dict[int, list[_Pool]] = {}
        self._thread = ThreadPoolExecutor(1)
        self._ready: dict[tuple[int, int], Future[Windows]] = {}

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """As `Windows.batch`; `world_size` is a multiple of the readers, whose ranks follow each
        other."""
        if batch_size % world_size or world_size % self._readers:
            raise UserError(
                f"batch size {batch_size}, {world_size} processes and {self._readers} readers do not divide"
            )
        share, parts = batch_size // world_size, world_size // self._readers
        begin = (step * parts + rank - self._reader * parts) * share
        return self.at(np.arange(begin, begin + share))

    def at(self, places: np.ndarray) -> Batch:
        """The windows that this reader draws at `places` 0, 1, 2, ... since training began."""
        parts, rows = [], []
        for pool in self._pools_of(places):
            inside = np.flatnonzero(
                (places >= self._begin(pool)) & (places < self._begin(pool) + pool.count)
            )
            rows.append(inside)
            parts.append(self._windows(pool).at(places[inside] - self._begin(pool)))
            parts[-1] = replace(parts[-1], window=self._named(pool, parts[-1].window))
            self._prepare(self._after(pool))
        return join_batches(parts, torch.from_numpy(np.concatenate(rows).argsort()))

    def fractions(self, step: int, batch_size: int) -> Mapping[str, float]:
        """Nothing to tell of one dataset."""
        return {}

    def epochs(self, drawn: int) -> Mapping[str, float]:
        """How often all windows were gone through once so many are drawn by all readers."""
        return {"": drawn / self._readers / self.num_windows}

    def describe(self, window: int) -> str:
        """Where a window, named as in `Batch.window`, comes from."""
        episode = int(np.searchsorted(self.dataset.starts, window, side="right")) - 1
        task = self.dataset.tasks[self.dataset.episode_task[episode]]
        return f"episode {episode} ({task.name}), from frame {window - int(self.dataset.starts[episode])}"

    def close(self) -> None:
        """Stop fetching and remove what was fetched."""
        self._thread.shutdown(cancel_futures=True)
        self._remote.removed()

    def _shared_out(self, episodes: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """This reader's episodes, by the files that they lie in."""
        by_files: dict[tuple[Path, ...], list[int]] = {}
        for episode in map(int, episodes):
            by_files.setdefault(tuple(self._remote.files_of([episode])), []).append(episode)
        units = list(by_files.values())
        if len(units) < self._readers:
            units = [[int(episode)] for episode in episodes]
        if len(units) < self._readers:
            raise UserError(
                f"{self._remote.url} has {len(units)} episodes, too few for {self._readers} readers"
            )
        return [np.asarray(unit) for unit in units[self._reader :: self._readers]]

    def _pools(self, epoch: int) -> list[_Pool]:
        """The pools of an epoch in their order."""
        if epoch not in self._plans:
            near = {other: plan for other, plan in self._plans.items() if abs(other - epoch) <= 1}
            self._plans = near | {epoch: self._planned(epoch)}
        return self._plans[epoch]

    def _planned(self, epoch: int) -> list[_Pool]:
        key = int(mix(np.asarray([epoch]), self.seed)[0])
        pools, first = [], 0
        for group in self._groups(
            permute(np.arange(len(self._units)), len(self._units), key).tolist()
        ):
            episodes = np.concatenate([self._units[unit] for unit in group])
            files = frozenset(self._remote.files_of(episodes.tolist()))
            episodes = episodes[permute(np.arange(len(episodes)), len(episodes), key + first)]
            lengths = self.dataset.reader.contents.lengths[episodes]
            parts = -(-int(lengths.sum()) // self._buffer_frames)
            part = (lengths.cumsum() - lengths) * parts // lengths.sum()
            for number in np.unique(part):
                own, count = np.sort(episodes[part == number]), int(lengths[part == number].sum())
                pools.append(_Pool(epoch, len(pools), own, files, first, count))
                first += count
        return pools

    def _groups(self, units: Sequence[int]) -> Iterator[list[int]]:
        """Units that are fetched together."""
        group: list[int] = []
        for unit in units:
            group.append(unit)
            if (
                len(group) >= _LEAST_UNITS
                and sum(self._sizes[each] for each in group) >= self._buffer_frames
            ):
                yield group
                group = []
        if group:
            yield group

    def _pools_of(self, places: np.ndarray) -> list[_Pool]:
        begin, end = int(places.min()), int(places.max())
        found = []
        for epoch in range(begin // self.num_windows, end // self.num_windows + 1):
            found += [
                pool
                for pool in self._pools(epoch)
                if self._begin(pool) <= end and self._begin(pool) + pool.count > begin
            ]
        return found

    def _begin(self, pool: _Pool) -> int:
        return pool.epoch * self.num_windows + pool.first

    def _after(self, pool: _Pool) -> _Pool:
        pools = self._pools(pool.epoch)
        return (
            pools[pool.number + 1]
            if pool.number + 1 < len(pools)
            else self._pools(pool.epoch + 1)[0]
        )

    def _windows(self, pool: _Pool) -> Windows:
        self._prepare(pool)
        return self._ready[pool.epoch, pool.number].result()

    def _prepare(self, pool: _Pool) -> None:
        """Have a pool fetched, and forget those that are neither it nor the one before."""
        key = (pool.epoch, pool.number)
        if key in self._ready:
            return
        for old in list(self._ready)[:-1]:
            self._thread.submit(self._forget, self._ready.pop(old), self._place(old))
        self._ready[key] = self._thread.submit(self._fetched, pool, self._place(key))

    def _place(self, key: tuple[int, int]) -> Path:
        return self._folder / f"pool-{key[0]}-{key[1]}"

    def _fetched(self, pool: _Pool, place: Path) -> Windows:
        dataset = EpisodeDataset(SubsetReader(self._remote, pool.episodes)).bounded_as(
            self.dataset.spec
        )
        cache = decode_into(dataset, place)
        self._remote.drop(pool.files - self._after(pool).files)
        seed = int(mix(np.asarray([pool.epoch, pool.number]), self.seed)[1] >> np.uint64(1))
        statistics = self._statistics or self.dataset.statistics
        return Windows(dataset, cache, self.config, seed=seed + pool.epoch, statistics=statistics)

    def _forget(self, windows: Future[Windows], place: Path) -> None:
        if not windows.cancelled():
            shutil.rmtree(place, ignore_errors=True)

    def _named(self, pool: _Pool, window: torch.Tensor) -> torch.Tensor:
        """Windows of a pool by their frames in the whole dataset."""
        lengths = self.dataset.reader.contents.lengths[pool.episodes]
        starts = np.concatenate([[0], lengths.cumsum()])
        inside = np.searchsorted(starts, window.numpy(), side="right") - 1
        return torch.from_numpy(
            self.dataset.starts[pool.episodes[inside]] + window.numpy() - starts[inside]
        )
