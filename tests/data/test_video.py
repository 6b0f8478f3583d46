"""Datasets with videos as images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from data.synthetic import ENVIRONMENT, FPS, TASKS, make_episode, make_spec, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset, append
from manyparts.data.formats.lerobot import layout
from manyparts.data.sampling.frames import FrameCache

SPEC = make_spec(64)
EPISODES = [make_episode(seed, length, SPEC) for seed, length in enumerate((7, 1, 12, 5))]
VIDEO = "videos/observation.images.front/chunk-000/file-{:03d}.mp4"


def assert_close(dataset: EpisodeDataset) -> None:
    for index, episode in enumerate(EPISODES):
        read = dataset.episode(index)
        np.testing.assert_array_equal(read.action, episode.action)
        shown, meant = read.images["front"].astype(int), episode.images["front"].astype(int)
        assert shown.shape == meant.shape and np.abs(shown - meant).mean() < 4
        order = [int(np.abs(meant - frame).mean(axis=(1, 2, 3)).argmin()) for frame in shown]
        assert order == list(range(len(episode)))


def test_episodes_share_one_mp4(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", EPISODES, SPEC, images="video")
    assert_close(dataset)
    with av.open(str(dataset.path / VIDEO.format(0))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p" and stream.codec_context.name == "libdav1d"
        frames = list(container.decode(stream))
    assert len(frames) == dataset.num_frames
    np.testing.assert_allclose(
        [float(frame.time or 0) for frame in frames], np.arange(len(frames)) / FPS, atol=1e-4
    )
    assert (
        dataset.reader.metadata.info["features"]["observation.images.front"]["info"]["video.codec"]
        == "av1"
    )
    assert dataset.summary()["images"] == "video"


def test_some_rows_are_those_of_all(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", EPISODES, SPEC, images="video")
    whole = dataset.frames(2, "front")
    np.testing.assert_array_equal(dataset.frames(2, "front", [1, 5, 6, 11]), whole[[1, 5, 6, 11]])


def test_videos_roll_over_and_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "VIDEO_FILE_MEGABYTES", 0.002)
    first = write(tmp_path / "set", EPISODES[:2], SPEC, images="video")
    with append(first.path, SPEC, fps=FPS, tasks=TASKS, environment=ENVIRONMENT) as writer:
        for episode in EPISODES[2:]:
            writer.add(episode)
    dataset = EpisodeDataset.open(first.path)
    assert (dataset.path / VIDEO.format(2)).is_file()
    assert_close(dataset)
    again = write(tmp_path / "again", EPISODES, SPEC, images="video")
    assert (again.path / VIDEO.format(0)).read_bytes() == (
        dataset.path / VIDEO.format(0)
    ).read_bytes()


def test_torn_or_missing_video_is_named(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", EPISODES, SPEC, images="video")
    video = dataset.path / VIDEO.format(0)
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"file-000.mp4"):
        FrameCache.open(EpisodeDataset.open(dataset.path), tmp_path / "cache")
    video.unlink()
    with pytest.raises(UserError, match=r"file-000.mp4 is missing"):
        EpisodeDataset.open(dataset.path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may be put before all else"
)
def test_encoder_leaves_no_realtime_priority() -> None:
    """SVT-AV1 makes the process that opens it real-time where it may, and all that this one
    starts."""
    program = """
import os, pathlib, numpy
from manyparts.data.video import encode_video
encode_video(numpy.zeros((4, 64, 64, 3), numpy.uint8), 10)
threads = pathlib.Path("/proc/self/task").glob("*")
kinds = {os.sched_getscheduler(int(path.name)) for path in threads}
assert os.SCHED_FIFO not in kinds, kinds
"""
    subprocess.run([sys.executable, "-c", program], check=True)
