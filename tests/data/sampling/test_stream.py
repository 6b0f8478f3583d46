"""Streaming draws every window once, the same after a kill, and keeps little on the disk."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from data.synthetic import make_episode, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.lerobot import layout
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows

EPISODES = [make_episode(seed, 4 + seed % 4) for seed in range(9)]
CONFIG = WindowConfig(steps=2, chunk=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    """One episode per file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "DATA_FILE_MEGABYTES", 0)
        return write(tmp_path_factory.mktemp("stream") / "set", EPISODES)


def sizes_of(folder: Path, *endings: str) -> list[int]:
    """Bytes of the files of frames and rows below a folder, from which a thread may remove some
    meanwhile."""
    sizes = []
    for path, _, names in os.walk(folder):
        for name in names if "meta" not in Path(path).parts else ():
            with contextlib.suppress(FileNotFoundError):
                sizes += (
                    [os.path.getsize(os.path.join(path, name))] if name.endswith(endings) else []
                )
    return sizes


@pytest.fixture
def url(dataset: EpisodeDataset) -> str:
    return f"file://{dataset.path}"


def stream(url: str, folder: Path, **options: int) -> StreamedWindows:
    return StreamedWindows(url, CONFIG, seed=3, cache_dir=folder, **{"buffer_frames": 10} | options)


def drawn(windows: StreamedWindows, steps: range, batch_size: int, **options: int) -> list[int]:
    return [
        each
        for step in steps
        for each in windows.batch(step, batch_size, **options).window.tolist()
    ]


@pytest.mark.parametrize(
    "readers", [*(pytest.param(count, marks=pytest.mark.slow) for count in (1, 2)), 4]
)
def test_readers_draw_every_window_once(
    readers: int, url: str, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    own = []
    for reader in range(readers):
        windows = stream(url, tmp_path, reader=reader, readers=readers)
        first = windows.at(np.arange(windows.num_windows)).window.tolist()
        second = windows.at(np.arange(windows.num_windows, 2 * windows.num_windows)).window.tolist()
        assert sorted(first) == sorted(second) and first != second and len(set(first)) == len(first)
        own.append(set(first))
        windows.close()
    assert (
        set().union(*own) == set(range(dataset.num_frames))
        and sum(map(len, own)) == dataset.num_frames
    )


def test_windows_are_those_of_the_dataset(
    url: str, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    windows, whole = (
        stream(url, tmp_path),
        Windows(dataset, FrameCache.open(dataset, tmp_path), CONFIG, seed=0),
    )
    batch = windows.batch(1, 8)
    order = whole.order(np.arange(whole.num_windows)).tolist()
    expected = {window: whole.at(np.asarray([position])) for position, window in enumerate(order)}
    for row, window in enumerate(batch.window.tolist()):
        for name in ("state", "action", "expert_action", "mask", "chunk_mask", "timestep"):
            assert torch.equal(getattr(batch, name)[row], getattr(expected[window], name)[0]), name
        assert torch.equal(batch.images["front"][row], expected[window].images["front"][0])
    assert windows.describe(int(dataset.starts[4]) + 1).startswith("episode 4 (")
    windows.close()


@pytest.mark.slow
def test_any_step_can_be_asked_for(url: str, tmp_path: Path) -> None:
    one, other = stream(url, tmp_path / "a"), stream(url, tmp_path / "b")
    whole = drawn(one, range(12), 6)
    assert drawn(other, range(7, 12), 6) == whole[42:]
    assert drawn(other, range(2, 3), 6) == whole[12:18]
    one.close(), other.close()


def test_ranks_take_their_parts(url: str, tmp_path: Path) -> None:
    """Two readers of two parts each."""
    for reader in range(2):
        windows = stream(url, tmp_path / str(reader), reader=reader, readers=2)
        parts = [
            drawn(windows, range(3), 8, rank=2 * reader + part, world_size=4) for part in range(2)
        ]
        own = windows.at(np.arange(12)).window.tolist()
        assert [
            each for step in range(3) for part in parts for each in part[2 * step : 2 * step + 2]
        ] == own
        windows.close()


def test_a_pool_is_decoded_once_where_ranks_take_turns(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    fetch = StreamedWindows._fetch

    def counted(self: StreamedWindows, pool: Any, folder: Path) -> Windows:
        decoded.append((pool.epoch, pool.number))
        return fetch(self, pool, folder)

    monkeypatch.setattr(StreamedWindows, "_fetch", counted)
    windows = stream(url, tmp_path)
    for step in range(36):
        for rank in (1, 0):
            windows.batch(step, 4, rank=rank, world_size=2)
    windows.close()
    assert len(decoded) > 6 and len(decoded) == len(set(decoded))


@pytest.mark.slow
def test_disk_use_is_bounded_and_cleared(url: str, tmp_path: Path) -> None:
    windows, max_files = stream(url, tmp_path, buffer_frames=1), 0
    for step in range(20):
        windows.batch(step, 4)
        max_files = max(max_files, len(sizes_of(tmp_path, ".u8", ".parquet")))
    assert 1 <= max_files <= 8
    windows.close()
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("images", ["png", "video"])
def test_large_files_are_decoded_in_parts(images: Any, tmp_path: Path) -> None:
    """All in one file: fetched once, decoded a few episodes at a time, divided by episodes."""
    dataset = write(tmp_path / "set", EPISODES, images=images)
    windows, seen = (
        [stream(str(dataset.path), tmp_path, reader=reader, readers=2) for reader in range(2)],
        [],
    )
    for each in windows:
        for position in range(each.num_windows):
            seen += each.at(np.asarray([position])).window.tolist()
            assert (
                sum(sizes_of(each._folder, ".u8")) <= 3 * 17 * 3 * 16 * 16
            )  # at most three pools while the oldest one goes
    assert sorted(seen) == list(range(dataset.num_frames))
    for each in windows:
        each.close()


@pytest.mark.slow
def test_killed_readers_resume_to_the_sample(url: str, tmp_path: Path) -> None:
    script = (
        "import sys, os\n"
        "from manyparts.data.sampling.stream import StreamedWindows\n"
        "from manyparts.data.sampling.config import WindowConfig\n"
        f"options = dict(seed=3, buffer_frames=10, cache_dir={str(tmp_path)!r})\n"
        f"windows = StreamedWindows({url!r}, WindowConfig(steps=2, chunk=2), **options)\n"
        "for step in range(int(sys.argv[1]), 10):\n"
        "    print(*windows.batch(step, 6).window.tolist(), flush=True)\n"
        "    if step == int(sys.argv[2]): os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def run(start: int, stop: int) -> list[str]:
        command = [sys.executable, "-c", script, str(start), str(stop)]
        return subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True
        ).stdout.splitlines()

    first, rest, whole = run(0, 4), run(5, 99), run(0, 99)
    assert len(first) == 5 and first + rest == whole
    assert not list(tmp_path.rglob("pool-*"))


def test_missing_parts_of_stores_are_named(dataset: EpisodeDataset, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(dataset.path), "/bucket/set", recursive=True)
    windows = stream("memory://bucket/set", tmp_path)
    assert sorted(windows.at(np.arange(dataset.num_frames)).window.tolist()) == list(
        range(dataset.num_frames)
    )
    windows.close()
    with pytest.raises(UserError, match="no LeRobotDataset at memory://bucket/none"):
        stream("memory://bucket/none", tmp_path)
    with pytest.raises(UserError, match="9 episodes, too few for 10 readers"):
        stream("memory://bucket/set", tmp_path, readers=10)
    store.rm("/bucket/set/data", recursive=True)
    with pytest.raises(UserError, match=r"memory://bucket/set/data/.* cannot be fetched"):
        stream("memory://bucket/set", tmp_path).batch(0, 4)


def test_trap_stores_naming_outside_files(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = fsspec.filesystem("file")
    find = type(local).find

    def lying(self: Any, path: str, **options: Any) -> list[str]:
        return [*find(self, path, **options), f"{path}/../../../outside.json"]

    monkeypatch.setattr(type(local), "find", lying)
    with pytest.raises(UserError, match="names a file outside of itself"):
        stream(url, tmp_path / "cache")
    assert not list(tmp_path.rglob("outside.json"))


def test_streams_keep_the_terminations(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "DATA_FILE_MEGABYTES", 0)
        ended = [number % 3 == 1 for number in range(len(EPISODES))]
        episodes = [
            replace(each, terminated=end) for each, end in zip(EPISODES, ended, strict=True)
        ]
        dataset = write(tmp_path / "set", episodes, terminates=True)
    windows = stream(f"file://{dataset.path}", tmp_path / "cache")
    streamed = windows.at(np.arange(windows.num_windows))
    windows.close()
    cache = FrameCache.open(dataset, tmp_path / "frames")
    local = Windows(dataset, cache, CONFIG, seed=0).at(np.arange(dataset.num_frames))
    expected = dict(zip(local.window.tolist(), local.terminations.tolist(), strict=True))
    assert streamed.terminated is not None and streamed.terminated.any()
    assert expected == dict(
        zip(streamed.window.tolist(), streamed.terminated.tolist(), strict=True)
    )
