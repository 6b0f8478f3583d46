"""A dataset decoded once into flat files: uint8 frames and float32 numbers, one row per frame."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from manyparts.core.host.cores import cores
from manyparts.core.printing import counted, say
from manyparts.core.progress import progress_bar
from manyparts.core.storage.atomic import disk_error, rename_into_place, temporary_folder
from manyparts.core.storage.caches import cache_root
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.reader import FORMAT
from manyparts.data.sampling.rows import RowFile

_ROWS_AT_ONCE = 1024


class FrameCache:
    """The decoded frames of a dataset, in a folder named by its fingerprint. Make it with `open`.

    Row i of each file is frame i of the dataset.

    Attributes:
        folder: of the files.
        num_frames: of the dataset.
        images: camera to rows of uint8 (3, h, w).
        numbers: rows of float32, with state, action, expert_action, reward and success after each
            other.
        columns: name to the slice of a row of `numbers` that it takes.
    """

    def __init__(self, folder: Path, dataset: EpisodeDataset) -> None:
        """Describe the files, which may not be there yet."""
        self.folder = folder
        count = dataset.num_frames
        self.num_frames = count
        self.images = {
            name: RowFile(folder / f"images-{number}.u8", (3, *size), np.uint8, count)
            for number, (name, size) in enumerate(dataset.spec.cameras.items())
        }
        self.columns = _columns(dataset.spec.state_dimension, dataset.spec.action.dimension)
        self.numbers = RowFile(
            folder / "numbers.f32", (self.columns["success"].stop,), np.float32, count
        )

    @classmethod
    def open(cls, dataset: EpisodeDataset, cache_dir: str | Path | None = None) -> FrameCache:
        """The cache of a dataset, decoded now if it is not there.

        Several processes may call this at once.

        Args:
            dataset: the frames.
            cache_dir: root of all caches; None: $MANYPARTS_CACHE, or ~/.cache/manyparts.

        Raises:
            UserError: an image cannot be decoded (the message names its file), or the disk is
                full.
        """
        folder = cache_root(cache_dir) / "frames" / f"{dataset.fingerprint[:32]}-{FORMAT}"
        cache = cls(folder, dataset)
        if not cache._is_whole():
            _build(dataset, folder)
        return cache

    def frames(self, camera: str, start: int, stop: int) -> np.ndarray:
        """Decoded frames of one camera.

        Args:
            camera: the camera's name.
            start: the first frame, counted through the dataset.
            stop: the frame after the last one.

        Returns:
            uint8 (stop - start, 3, h, w).
        """
        return self.images[camera].read(start, stop)

    @property
    def image_bytes(self) -> int:
        """The size in bytes of all frames of all cameras."""
        return sum(rows.count * rows.row_bytes for rows in self.images.values())

    def on(self, device: torch.device) -> dict[str, Tensor]:
        """Camera to all frames in a device's memory: uint8 (num_frames, 3, h, w)."""
        return {name: _copied(rows, device) for name, rows in self.images.items()}

    def _is_whole(self) -> bool:
        return (self.folder / "complete.json").is_file() and all(
            file.is_whole() for file in self._files()
        )

    def _files(self) -> list[RowFile]:
        return [self.numbers, *self.images.values()]


def decode_into(dataset: EpisodeDataset, folder: Path) -> FrameCache:
    """Decode a dataset into a new folder.

    Args:
        dataset: the dataset.
        folder: the folder, which is made now, and which no other process uses.

    Raises:
        UserError: an image cannot be decoded, or the disk is full.
    """
    folder.mkdir(parents=True)
    cache = FrameCache(folder, dataset)
    try:
        _decode_all(dataset, cache)
    except OSError as error:
        raise disk_error(error, folder) from error
    return cache


def _copied(rows: RowFile, device: torch.device) -> Tensor:
    """All rows of a file on a device, read a few at a time."""
    whole = torch.empty(rows.count, *rows.shape, dtype=torch.uint8, device=device)
    for start in range(0, rows.count, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, rows.count)
        whole[start:stop] = torch.from_numpy(rows.read(start, stop))
    return whole


def _columns(state: int, action: int) -> dict[str, slice]:
    """See `FrameCache.columns`. state, action: their numbers of dimensions."""
    widths = {"state": state, "action": action, "expert_action": action, "reward": 1, "success": 1}
    ends = np.cumsum(list(widths.values())).tolist()
    return {
        name: slice(end - width, end)
        for (name, width), end in zip(widths.items(), ends, strict=True)
    }


def _build(dataset: EpisodeDataset, folder: Path) -> None:
    """Decode into a temporary folder, then rename it to `folder`. If another process was faster,
    its folder is kept."""
    temporary = temporary_folder(folder)
    started = time.monotonic()
    try:
        _decode_all(dataset, FrameCache(temporary, dataset))
        (temporary / "complete.json").write_text(json.dumps({"path": str(dataset.path.resolve())}))
        if folder.exists() and not FrameCache(folder, dataset)._is_whole():
            shutil.rmtree(folder, ignore_errors=True)
        rename_into_place(temporary, folder)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    seconds = time.monotonic() - started
    frames, rate = counted(dataset.num_frames, "frame"), dataset.num_frames / max(seconds, 1e-6)
    say(
        f"decoded {frames} of {dataset.path} in {seconds:.1f} s, {rate:.0f} frames/s; "
        "from now on they are read from the cache",
        error=True,
    )


def _decode_all(dataset: EpisodeDataset, cache: FrameCache) -> None:
    for file in cache._files():
        file.create()
    try:
        # Threads suffice: Pillow, zlib and the video decoder release the interpreter's lock.
        with ThreadPoolExecutor(max(2, min(8, cores()))) as threads:
            jobs = [
                threads.submit(_decode_episode, dataset, cache, index)
                for index in range(dataset.num_episodes)
            ]
            started = time.monotonic()
            try:
                with progress_bar(f"decoding episodes of {dataset.path.name}", len(jobs)) as bar:
                    for done, job in enumerate(jobs, start=1):
                        job.result()
                        seconds = time.monotonic() - started
                        bar.show(done, f"{int(dataset.starts[done]) / seconds:.0f} frames/s")
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
    finally:
        for file in cache._files():
            file.close()


def _decode_episode(dataset: EpisodeDataset, cache: FrameCache, index: int) -> None:
    episode = dataset.episode(index)
    start = int(dataset.starts[index])
    columns = [episode.state, episode.action, episode.expert_action]
    columns += [column[:, None].astype(np.float32) for column in (episode.reward, episode.success)]
    cache.numbers.write(start, np.concatenate(columns, axis=1))
    for camera, frames in episode.images.items():
        cache.images[camera].write(start, np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
