"""Videos are cut without encoding again, frame by frame as they were; or copied whole, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from data.formats.lerobot_sets import (
    CAMERA,
    EPISODES,
    FPS,
    INFO,
    LENGTHS,
    VIDEO,
    assert_own_rows,
    change_json,
    change_table,
    film,
    grey,
    image,
    rows_of,
    write_filmed,
)
from data.synthetic import make_episode, make_spec, write
from data.tools.editing.lerobot_rules import decoded, read_as_lerobot
from data.tools.editing.sets import snapshot

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.editing.commands import Destination, Parts, delete, merge, split
from manyparts.data.video import VideoWriter, encode_video

ROWS, AV1 = rows_of(LENGTHS), "libsvtav1"
EVERY_FRAME_A_KEY, ONE_KEY = {"g": "1"}, {"g": "250", "sc_threshold": "0"}
OPEN_GROUPS = {
    "x265-params": "log-level=none:bframes=3:keyint=4:min-keyint=4:open-gop=1:scenecut=0"
}
WITH_B_FRAMES = {"g": "1000", "bf": "3", "b-adapt": "0", "force-idr": "1"}


def apart(folder: Path, options: dict[str, str], codec: str = "libx264", **more: Any) -> Path:
    """A filmed set of which each episode was encoded apart, and then joined, as LeRobot does it."""
    source = write_filmed(folder, **more)
    writer = VideoWriter(source / VIDEO, FPS)
    for episode, length in enumerate(LENGTHS):
        part = folder / "part.mp4"
        shown = [image(episode, row) for row in range(length)]
        if codec == AV1:  # used directly, its encoder leaves this process a real-time priority
            part.write_bytes(encode_video(np.stack(shown), FPS))
        else:
            film(part, shown, [row / FPS for row in range(length)], codec=codec, options=options)
        writer.add(part.read_bytes(), length)
        part.unlink()
    writer.close()
    return source


def packets_of(file: Path) -> list[bytes]:
    with av.open(str(file)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


CUT: dict[str, Any] = {
    "every frame a key": lambda folder: write_filmed(folder, options=EVERY_FRAME_A_KEY),
    "every second frame a key": lambda folder: apart(folder, {"g": "2"}),
    "one key per episode": lambda folder: apart(folder, ONE_KEY),
    "frames predicted from later ones": lambda folder: apart(folder, WITH_B_FRAMES),
    "HEVC": lambda folder: apart(folder, {"x265-params": "log-level=none"}, "libx265"),
    "AV1, as LeRobot stores it": lambda folder: apart(folder, {}, AV1),
    "an encoder's delay": lambda folder: write_filmed(
        folder, options=EVERY_FRAME_A_KEY, seconds=[0.2 + n / FPS for n in range(15)]
    ),
    "the last episode first": lambda folder: write_filmed(
        folder,
        options=EVERY_FRAME_A_KEY,
        shown=[*ROWS[11:], *ROWS[:11]],
        begins=[0.4, 1.0, 0],
    ),
    "frames of an episode that was deleted before": lambda folder: write_filmed(
        folder, options=EVERY_FRAME_A_KEY, shown=[*ROWS, *ROWS[:6]]
    ),
}


@pytest.mark.parametrize("case", CUT)
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_videos_are_cut_without_loss(case: str, gone: int, tmp_path: Path) -> None:
    source = CUT[case](tmp_path / "source")
    written = delete(source, Destination(tmp_path / "copy"), episodes=[str(gone)])
    assert not any("copied whole" in note for note in written.notes)
    kept = [number for number in range(3) if number != gone]
    former, now = EpisodeDataset.open(source), EpisodeDataset.open(tmp_path / "copy")
    for index, number in enumerate(kept):
        np.testing.assert_array_equal(now.frames(index, "top"), former.frames(number, "top"))
    seconds, _ = decoded(tmp_path / "copy" / VIDEO)
    count = sum(LENGTHS[number] for number in kept)
    np.testing.assert_allclose(seconds, np.arange(count) / FPS, atol=1e-4)
    assert set(packets_of(tmp_path / "copy" / VIDEO)) < set(packets_of(source / VIDEO))
    for read, number in zip(read_as_lerobot(tmp_path / "copy"), kept, strict=True):
        shown = read.frames[CAMERA].reshape(LENGTHS[number], -1).mean(axis=1)
        wanted = [grey(number, row) for row in range(LENGTHS[number])]
        np.testing.assert_allclose(shown, wanted, atol=3)


CUT_EARLIER: dict[str, tuple[Any, dict[int, int]]] = {
    # Frames of other episodes that stay, by the episode that is deleted. Keys: frames 0, 4, 8, 12.
    "every fourth frame a key": (
        lambda folder: write_filmed(folder, options={"g": "4", "sc_threshold": "0", "bf": "0"}),
        {0: 2, 1: 3, 2: 0},
    ),
    "one key for all": (lambda folder: write_filmed(folder, options=ONE_KEY), {2: 2}),
    "groups that lean on each other": (
        lambda folder: write_filmed(folder, options=OPEN_GROUPS, codec="libx265"),
        {2: 1},
    ),
}
EARLIER = [(case, gone) for case, (_, others) in CUT_EARLIER.items() for gone in others]


@pytest.mark.parametrize(("case", "gone"), EARLIER)
def test_cuts_begin_at_key_frames(case: str, gone: int, tmp_path: Path) -> None:
    """Where an episode begins within a group, the frames of the group before it stay, and are said
    to."""
    make, others = CUT_EARLIER[case]
    source = make(tmp_path / "source")
    written = delete(source, Destination(tmp_path / "copy"), episodes=[str(gone)])
    notes = [note for note in written.notes if "cut at key frames" in note]
    wanted = [f"{VIDEO} ({others[gone]})"] if others[gone] else []
    assert [note.rpartition("shows: ")[2] for note in notes] == wanted
    kept = [number for number in range(3) if number != gone]
    seconds, _ = decoded(tmp_path / "copy" / VIDEO)
    count = sum(LENGTHS[number] for number in kept) + others[gone]
    np.testing.assert_allclose(seconds, np.arange(count) / FPS, atol=1e-4)
    former, now = EpisodeDataset.open(source), EpisodeDataset.open(tmp_path / "copy")
    read = read_as_lerobot(tmp_path / "copy")
    for index, number in enumerate(kept):
        frames = former.frames(number, "top")
        np.testing.assert_array_equal(now.frames(index, "top"), frames)
        np.testing.assert_array_equal(read[index].frames[CAMERA], frames)


WHOLE: dict[str, Any] = {
    "one key for all": lambda folder: write_filmed(folder, options=ONE_KEY),
    "twice the rate": lambda folder: write_filmed(
        folder,
        shown=[which for which in ROWS for _ in range(2)],
        seconds=[number / 20 for number in range(30)],
        begins=[0, 0.6, 1.1],
    ),
    "Matroska": lambda folder: write_filmed(folder, codec="ffv1", pixels="yuv444p"),
    "with sound": lambda folder: with_sound(write_filmed(folder, options=EVERY_FRAME_A_KEY)),
}


def with_sound(source: Path) -> Path:
    """Add a track of sound to the video."""
    silent = (source / VIDEO).rename(source / "silent.mp4")
    with av.open(str(silent)) as seen, av.open(str(source / VIDEO), "w") as output:
        video = output.add_stream_from_template(seen.streams.video[0], opaque=True)
        sound: Any = output.add_stream("aac", rate=8000)
        for packet in seen.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    silent.unlink()
    return source


@pytest.mark.parametrize("case", WHOLE)
def test_videos_that_cannot_be_cut_are_copied(case: str, tmp_path: Path) -> None:
    source = WHOLE[case](tmp_path / "source")
    written = delete(source, Destination(tmp_path / "copy"), episodes=["1"])
    (note,) = [note for note in written.notes if "copied whole" in note]
    assert note.endswith(VIDEO)
    assert (tmp_path / "copy" / VIDEO).read_bytes() == (source / VIDEO).read_bytes()
    former, now = EpisodeDataset.open(source), EpisodeDataset.open(tmp_path / "copy")
    for index, number in enumerate((0, 2)):
        np.testing.assert_array_equal(now.frames(index, "top"), former.frames(number, "top"))


def test_whole_videos_stay_byte_by_byte(tmp_path: Path) -> None:
    """Two files: the one of which no episode is deleted keeps its times, too."""
    second = VIDEO.replace("file-000", "file-001")
    delayed = [0.2 + row / FPS for row in range(5)]
    source = write_filmed(tmp_path / "source", (6, 5), shown=ROWS[:6], begins=[0, 0.2])
    film(source / second, [image(1, row) for row in range(5)], delayed)
    files = {f"videos/{CAMERA}/file_index": [0, 1], f"videos/{CAMERA}/to_timestamp": [0.6, 0.7]}
    change_table(source / EPISODES, lambda columns: {**columns, **files})
    delete(source, Destination(tmp_path / "copy"), episodes=["0"])
    copied = snapshot(tmp_path / "copy")
    assert [name for name in copied if name.startswith("videos")] == [VIDEO]
    assert copied[VIDEO] == (source / second).read_bytes()
    (row,) = read_as_lerobot(tmp_path / "copy", videos=False)
    assert row.meta["length"] == 5
    assert_own_rows(EpisodeDataset.open(source), [0, 1], (6, 5))
    shown = EpisodeDataset.open(tmp_path / "copy").frames(0, "top")
    np.testing.assert_array_equal(shown, EpisodeDataset.open(source).frames(1, "top"))


def test_two_cameras_of_two_datasets(tmp_path: Path) -> None:
    """Every other episode of two merged datasets, with several episodes in each video."""
    spec = make_spec(cameras=("front", "wrist"))
    sets = []
    for name, seeds in (("a", range(4)), ("b", range(4, 9))):
        episodes = [make_episode(seed, 3 + seed % 3, spec) for seed in seeds]
        sets.append(write(tmp_path / name, episodes, spec, "video"))
    merge([each.path for each in sets], tmp_path / "merged")
    merged = EpisodeDataset.open(tmp_path / "merged")
    former = [(each, index) for each in sets for index in range(len(each))]
    split(merged.path, tmp_path / "parts", Parts(episodes=["odd=1,3,5,7", "even=rest"]))
    for name, chosen in (("odd", former[1::2]), ("even", former[::2])):
        part = EpisodeDataset.open(tmp_path / "parts" / name)
        for index, (source, position) in enumerate(chosen):
            for camera in spec.cameras:
                frames = part.frames(index, camera)
                np.testing.assert_array_equal(frames, source.frames(position, camera))
        read_as_lerobot(tmp_path / "parts" / name)


def test_rate_without_a_rounding_error(tmp_path: Path) -> None:
    """At 29.97 frames per second a frame takes no whole number of ticks, and times do not drift."""
    lengths, fps = [40] * 6, 30000 / 1001
    source = write_filmed(tmp_path / "source", [2] * 6, shown=ROWS[:12])
    frames = [np.full((40, 64, 64, 3), 30 * episode, np.uint8) for episode in range(6)]
    writer = VideoWriter(source / VIDEO, fps)
    for each in frames:
        writer.add(encode_video(each, fps), 40)
    writer.close()
    other = write_filmed(tmp_path / "rows", lengths, shown=ROWS[:1], seconds=[0])
    change_json(other / INFO, fps=fps)
    change_table(
        other / "data/chunk-000/file-000.parquet",
        lambda columns: (
            columns
            | {"timestamp": np.asarray([row / fps for row in columns["frame_index"]], np.float32)}
        ),
    )
    begins = {f"videos/{CAMERA}/from_timestamp": [number * 40 / fps for number in range(6)]}
    change_table(other / EPISODES, lambda columns: {**columns, **begins})
    (source / VIDEO).replace(other / VIDEO)
    written = delete(other, Destination(tmp_path / "copy"), episodes=["1-3"])
    assert not any("copied whole" in note for note in written.notes)
    for read, episode in zip(read_as_lerobot(tmp_path / "copy"), (0, 4, 5), strict=True):
        assert abs(read.frames[CAMERA].mean() - 30 * episode) < 4
