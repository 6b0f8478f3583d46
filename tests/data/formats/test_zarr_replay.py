"""Replay buffers of Diffusion Policy and UMI: read in place, right to the row, or refused with the
reason."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.zarr_sets import (
    JPEG_XL,
    LENGTHS,
    LZ4,
    SIZE,
    encode,
    marked,
    numbers,
    pusht,
    put,
    read_mark,
    real,
    stacked,
    store_files,
    umi,
    write_pusht,
    write_real,
    write_umi,
    write_video,
)

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")


def assert_pusht(dataset: EpisodeDataset) -> None:
    """All rows are those of `pusht`."""
    assert np.diff(dataset.starts).tolist() == list(LENGTHS)
    for index, length in enumerate(LENGTHS):
        episode = dataset.episode(index)
        for row in range(length):
            np.testing.assert_array_equal(episode.state[row], numbers(index, row, 3))
            np.testing.assert_array_equal(episode.action[row], numbers(index, row, 2) + 0.5)
            np.testing.assert_array_equal(episode.images["img"][row], marked(index, row))


STORES: dict[str, Callable[[Path], Path]] = {
    "a folder": lambda path: write_pusht(path / "pusht.zarr"),
    "the folder of a store": lambda path: write_pusht(path / "pusht.zarr").parent,
    "a zip": lambda path: write_pusht(path / "pusht.zarr.zip"),
    "a zip of a folder": lambda path: put(
        path / "pusht.zarr.zip", store_files(pusht()), "pusht.zarr/"
    ),
    "images of 8 bits": lambda path: put(
        path / "pusht.zarr", store_files(pusht() | {"img": stacked(marked)})
    ),
    "images of 0 to 1": lambda path: put(
        path / "pusht.zarr", store_files(pusht() | {"img": stacked(marked) / 255})
    ),
    "one chunk": lambda path: write_pusht(
        path / "p.zarr", options={"img": {"chunk": (15, 32, 32, 3)}}
    ),
    "chunks of columns": lambda path: write_pusht(
        path / "p.zarr", options={"img": {"chunk": (2, 20, 17, 2)}, "state": {"chunk": (7, 2)}}
    ),
    "nested chunks": lambda path: write_pusht(path / "p.zarr", separator="/"),
    "column-major": lambda path: write_pusht(path / "p.zarr", order="F", codec=None),
    "bits shuffled": lambda path: write_pusht(
        path / "p.zarr", codec=LZ4 | {"cname": "zstd", "shuffle": 2}
    ),
    "not compressed": lambda path: write_pusht(path / "p.zarr", codec=None),
    **{
        name: lambda path, name=name: write_pusht(path / "p.zarr", codec={"id": name})
        for name in ("zlib", "gzip", "bz2", "lzma", "zstd", "lz4")
    },
    "format 3": lambda path: write_pusht(path / "p.zarr", version=3, codec={"id": "zstd"}),
    "format 3 in a zip": lambda path: write_pusht(
        path / "p.zarr.zip", version=3, codec=LZ4, separator="."
    ),
    "more rows than episodes": lambda path: put(
        path / "p.zarr",
        store_files({name: np.concatenate([each, each[:3]]) for name, each in pusht().items()}),
    ),
}


@pytest.mark.parametrize("case", STORES)
def test_every_way_of_storing_reads_alike(case: str, tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(STORES[case](tmp_path))
    assert_pusht(dataset)
    assert list(dataset.reader.contents.left_out) == ["keypoint"]
    other = pickle.loads(pickle.dumps(dataset))
    assert other.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(other.frames(1, "img", [0, 3]), dataset.frames(1, "img")[[0, 3]])


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    notes = EpisodeDataset.open(write_pusht(tmp_path / "pusht.zarr")).summary()["notes"]
    assert notes == [
        "nothing says the rate: taken for 20 Hz",
        "img: float32 from 0 to 255, read as 8-bit images",
    ]
    data = {name: np.concatenate([each, each[:3]]) for name, each in pusht().items()}
    longer = EpisodeDataset.open(put(tmp_path / "longer.zarr", store_files(data)))
    (note, *_) = longer.summary()["notes"]
    assert note == "action, img, keypoint, state: rows after the last episode's end are not read"


def test_missing_chunks_are_the_fill_value_and_said(tmp_path: Path) -> None:
    files = store_files(pusht(), fill=7)
    for key in ("data/state/1.0", "data/img/3.0.0.0"):
        del files[key]
    dataset = EpisodeDataset.open(put(tmp_path / "pusht.zarr", files))
    assert dataset.episode(0).state[:, 0].tolist() == [0, 1, 2, 3, 7, 7]
    assert (dataset.episode(2).images["img"][1:] == 7).all()
    (note,) = [note for note in dataset.summary()["notes"] if note.startswith("data/state")]
    assert note == "data/state: 1 of 4 chunks are not stored; their rows are the fill value 7.0"


def test_real_robots_rows_get_the_frame_of_their_time(tmp_path: Path) -> None:
    for name, frames_per_row in (("often", 3), ("equal", 1)):
        folder = write_real(tmp_path / name, frames_per_row=frames_per_row)
        dataset = EpisodeDataset.open(folder)
        assert dataset.fps == 10 and list(dataset.spec.cameras) == ["0", "1"]
        assert dataset.reader.contents.images == "video"
        assert set(dataset.reader.contents.left_out) == {"stage"}
        for index, length in enumerate(LENGTHS):
            episode = dataset.episode(index)
            wanted = np.stack([numbers(index, row, 12) for row in range(length)])
            np.testing.assert_allclose(episode.state, wanted)
            for camera in (0, 1):
                seen = [read_mark(image) for image in episode.images[str(camera)]]
                assert seen == [(index, row, camera) for row in range(length)]
        assert dataset.fingerprint == EpisodeDataset.open(folder / "replay_buffer.zarr").fingerprint


def test_frames_follow_uneven_times(tmp_path: Path) -> None:
    """A row was lost, so that the next one is two frames later."""
    later = stacked(lambda e, t: 1.7e9 + 60 * e + (t + (t > 2)) / 10)
    folder = write_real(tmp_path / "set", real(timestamp=later))
    for camera in (0, 1):
        for episode, length in enumerate(LENGTHS):
            frames = [marked(episode, row, camera) for row in range(length + 1) for _ in range(3)]
            write_video(folder / f"videos/{episode}/{camera}.mp4", frames, 30)
    dataset = EpisodeDataset.open(folder)
    seen = [read_mark(image)[1] for image in dataset.frames(0, "1")]
    assert dataset.fps == 10 and seen == [0, 1, 2, 4, 5, 6]
    (note,) = dataset.summary()["notes"]
    assert note.startswith("3 rows not 0.1 s after the one before: the first is row 3 of episode 0")


def test_videos_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_real(tmp_path / "short")
    write_video(folder / "videos/1/0.mp4", [marked(1, 0)] * 6, 30)
    with pytest.raises(UserError, match=r"videos/1/0.mp4 ends after 0.17 s; row 3 is 0.30 s after"):
        EpisodeDataset.open(folder)
    (folder / "videos/1/0.mp4").unlink()
    with pytest.raises(UserError, match=r"videos/1/0.mp4 is missing.*--fix COPY. leaves it out"):
        EpisodeDataset.open(folder)
    assert repair(folder, tmp_path / "mended") == ["1"]
    mended = EpisodeDataset.open(tmp_path / "mended")
    assert [read_mark(image) for image in mended.frames(1, "0")] == [
        (2, row, 0) for row in range(4)
    ]
    back = real()["timestamp"]
    back[8] -= 5
    folder = write_real(tmp_path / "back", real(timestamp=back))
    with pytest.raises(UserError, match="the rows' times do not grow from row 1 to 2"):
        EpisodeDataset.open(folder)


@pytest.mark.parametrize("robots", [1, 2])
def test_umis_action_is_the_next_pose(robots: int, tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(write_umi(tmp_path / "dataset.zarr.zip", robots))
    data = umi(robots)
    names = sorted(name for name in data if "_eef_" in name or name.endswith("width"))
    pose = np.concatenate([data[name] for name in names], axis=1)
    for index, (first, length) in enumerate(zip((0, 6, 11), LENGTHS, strict=True)):
        episode, rows = dataset.episode(index), pose[first : first + length]
        np.testing.assert_array_equal(episode.state, rows)
        np.testing.assert_array_equal(episode.action, np.concatenate([rows[1:], rows[-1:]]))
        for robot in range(robots):
            seen = [read_mark(image) for image in episode.images[f"camera{robot}"]]
            assert seen == [(index, row, robot) for row in range(length)]
    assert dataset.spec.action.names == dataset.spec.state_names
    contents = dataset.reader.contents
    assert contents.images == "jpegxl" and dataset.fps == pytest.approx(59.94, abs=1e-3)
    assert all("demonstration" in why for why in contents.left_out.values())
    assert len(contents.left_out) == 2 * robots
    assert any("of the next row, and of the last row its own" in note for note in contents.notes)
    assert dataset.tasks[0].instruction == tmp_path.name  # all of UMI's sets are called "dataset"


def test_umis_images_need_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_umi(tmp_path / "dataset.zarr.zip")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    dataset = EpisodeDataset.open(path)
    with pytest.raises(UserError, match="imagecodecs_jpegxl needs imagecodecs: pip install"):
        dataset.frames(0, "camera0")


def test_actions_win_over_poses(tmp_path: Path) -> None:
    data = umi() | {"action": stacked(lambda e, t: numbers(e, t, 2))}
    dataset = EpisodeDataset.open(put(tmp_path / "set.zarr", store_files(data)))
    np.testing.assert_array_equal(dataset.episode(1).action[2], numbers(1, 2, 2))
    assert dataset.spec.action.dimension == 2 and dataset.spec.state_dimension == 7


def test_rewards_ends_and_instructions(tmp_path: Path) -> None:
    more = {
        "reward": stacked(lambda e, t: [t / 2]),
        "success": stacked(lambda e, t: t == 3),
        "episode": stacked(lambda e, t: e),
        "instruction": stacked(lambda e, t: ["push the T", "turn it"][e % 2]),
        "obs/effort": stacked(lambda e, t: numbers(e, t, 1)),
    }
    dataset = EpisodeDataset.open(put(tmp_path / "set.zarr", store_files(pusht() | more)))
    episode = dataset.episode(1)
    assert episode.reward.tolist() == [0, 0.5, 1, 1.5, 2] and episode.success.tolist()[3]
    assert [dataset.episode(index).instruction for index in range(3)] == [
        *["push the T", "turn it", "push the T"]
    ]
    assert dataset.spec.state_names[0] == "obs/effort"
    assert dataset.reader.contents.left_out["episode"] == "says which episode it is"


def with_metadata(key: str, **changed: Any) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        described = json.loads(files[key])
        files[key] = json.dumps(described | changed).encode()

    return change


def without(*keys: str) -> Callable[[dict[str, bytes]], None]:
    return lambda files: [files.pop(key) for key in keys] and None


IMG, ACTION = "data/img/.zarray", "data/action/.zarray"
LEFT_OUT: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "an unknown codec": (with_metadata(IMG, compressor={"id": "packed"}), "the codec 'packed'"),
    "a filter": (with_metadata(IMG, filters=[{"id": "delta"}]), "the codec 'delta'"),
    "a pickle": (with_metadata(IMG, dtype="|O", filters=[{"id": "pickle"}]), "holds |O"),
    "records": (with_metadata(IMG, dtype=[["a", "<f4"]]), "records of several types"),
    "a torn description": (lambda files: files.update({IMG: b"{"}), "not readable JSON"),
    "no description": (lambda files: files.update({IMG: b""}), "not readable JSON"),
    "another format": (with_metadata(IMG, zarr_format=1), "zarr_format 1"),
    "a shape of words": (with_metadata(IMG, shape=["a"]), "is no shape"),
    "chunks of another size": (with_metadata(IMG, chunks=[4, 32]), "in chunks of"),
    "vast chunks": (with_metadata(IMG, chunks=[2**40, 32, 32, 3]), "at most 4294967296"),
    "a vast array": (with_metadata(IMG, shape=[2**36, 32, 32, 3]), "chunks are not stored"),
    "too few rows": (with_metadata(IMG, shape=[9, 32, 32, 3]), "has 9 rows"),
    "images of 8 channels": (with_metadata(IMG, shape=[15, 32, 32, 8]), "neither an 8-bit image"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_unreadable_arrays_are_left_out(case: str, tmp_path: Path) -> None:
    damage, why = LEFT_OUT[case]
    files = store_files(pusht())
    damage(files)
    dataset = EpisodeDataset.open(put(tmp_path / "set.zarr", files))
    assert why in dataset.reader.contents.left_out["img"] and not dataset.spec.cameras
    np.testing.assert_array_equal(dataset.episode(2).action[3], numbers(2, 3, 2) + 0.5)


REFUSED: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "no ends": (without("meta/episode_ends/.zarray"), "without meta/episode_ends.*; write it as"),
    "no chunk of ends": (without("meta/episode_ends/0"), "meta/episode_ends is missing"),
    "no action": (without(ACTION), "no array named action or actions, nor UMI's"),
    "action of an unknown codec": (
        with_metadata(ACTION, compressor={"id": "packed"}),
        "action: stored with the codec 'packed'",
    ),
    "action of too few rows": (
        with_metadata(ACTION, shape=[14, 2]),
        "action: has 14 rows; meta/episode_ends counts 15",
    ),
    "a torn chunk": (
        lambda files: files.update({"data/action/1.0": files["data/action/1.0"][:-3]}),
        "chunk data/action/1.0 is torn",
    ),
    "no fill value": (
        lambda files: [with_metadata(ACTION, fill_value=None)(files), files.pop("data/action/1.0")],
        "chunk data/action/1.0 is missing, and no fill value is set",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", ["set.zarr", "set.zarr.zip"])
def test_unusable_stores_are_refused(case: str, name: str, tmp_path: Path) -> None:
    damage, why = REFUSED[case]
    files = store_files(pusht())
    damage(files)
    with pytest.raises(UserError, match=why) as refused:
        EpisodeDataset.open(put(tmp_path / name, files))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        ([6, 5, 15], "does not ascend: episode 1 would be rows 6 to 4"),
        ([-3, 11, 15], "does not ascend"),
        ([6, 11, 16], "has 15 rows; meta/episode_ends counts 16"),
        ([0], "counts no rows"),
        ([], "has 0 entries"),
        ([6, 6, 15], "episode 1 has no rows; .*--fix COPY. leaves it out"),
    ],
)
def test_ends_that_contradict_are_refused(ends: list[int], why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        EpisodeDataset.open(put(tmp_path / "set.zarr", store_files(pusht(), ends)))


def test_a_folder_of_stores_is_refused(tmp_path: Path) -> None:
    for name in ("a.zarr", "b.zarr.zip"):
        write_pusht(tmp_path / name)
    with pytest.raises(UserError, match=r"folder of 2 zarr stores; give one, such as .*a.zarr"):
        EpisodeDataset.open(tmp_path)


@pytest.mark.parametrize(
    ("scale", "shift", "why"),
    [
        (1 / 127.5, -1, "values from -0.92"),
        (257, 0, "not 0 to 1 or 255"),
        (np.nan, 0, "NaN or infinity"),
    ],
)
def test_float_images_of_no_known_scale_are_left_out(
    scale: float, shift: float, why: str, tmp_path: Path
) -> None:
    data = pusht() | {"img": stacked(marked).astype(np.float32) * scale + shift}
    dataset = EpisodeDataset.open(put(tmp_path / "set.zarr", store_files(data)))
    assert why in dataset.reader.contents.left_out["img"]


@pytest.mark.parametrize(("usual", "odd"), [(1.0, 1 / 255), (1 / 255, 1.0)])
def test_float_images_of_two_scales_are_refused(usual: float, odd: float, tmp_path: Path) -> None:
    """The scale follows from some rows, so that others may contradict it."""
    images = stacked(lambda _, t: marked(0, t % 9, size=16), (40,)).astype(np.float32) * usual
    images[7] *= odd / usual
    data = {"img": images, "action": stacked(lambda _, t: [float(t)], (40,))}
    path = put(tmp_path / "set.zarr", store_files(data, [40]))
    dataset = EpisodeDataset.open(path)
    assert dataset.frames(0, "img", [0, 1]).max() > 200
    with pytest.raises(UserError, match="other rows hold 0 to"):
        dataset.frames(0, "img")


def test_converted_sets_hold_the_same(tmp_path: Path) -> None:
    convert(write_pusht(tmp_path / "pusht.zarr"), tmp_path / "copy")
    assert_pusht(EpisodeDataset.open(tmp_path / "copy"))
    assert not [f for f in check(tmp_path / "pusht.zarr") if f.severity == "error"]


def test_images_of_another_size_are_torn(tmp_path: Path) -> None:
    encoded = {"codec": JPEG_XL, "chunk": (1, SIZE, SIZE, 3)}
    files = store_files(umi(), options={"camera0_rgb": encoded})
    smaller = marked(0, 0, size=SIZE // 2)
    files["data/camera0_rgb/3.0.0.0"] = encode(smaller[None], JPEG_XL)
    dataset = EpisodeDataset.open(put(tmp_path / "set.zarr", files))
    with pytest.raises(UserError, match=r"chunk data/camera0_rgb/3.0.0.0 is torn: an image"):
        dataset.frames(0, "camera0")
