"""Of stored images only 8-bit colour or grey is a camera; sizes and orientation are right."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import (
    CAMERA,
    DATA,
    LENGTHS,
    assert_own_rows,
    feature,
    image,
    rows_of,
    stored,
    write_filmed,
    write_v3,
)
from PIL import ExifTags, Image

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.tools.check import check, repair

ROWS = rows_of(LENGTHS)


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    content, image = io.BytesIO(), Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(content, kind)
    return content.getvalue()


def deep_png(channels: int) -> bytes:
    """16 bits a channel, of which Pillow writes grey alone."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = zlib.compress((b"\0" + bytes([1, 2] * channels * 12)) * 12)
    header = struct.pack(">IIBBBBB", 12, 12, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


MILLIMETRES = (400 + np.arange(144).reshape(12, 12)).astype(np.uint16)
DEPTH_PICTURES: dict[str, bytes] = {
    "16-bit PNG": encoded(MILLIMETRES),
    "16-bit TIFF": encoded(MILLIMETRES, "TIFF"),
    "32-bit TIFF": encoded(MILLIMETRES.astype(np.int32), "TIFF"),
    "floats": encoded(MILLIMETRES.astype(np.float32), "TIFF"),
    "16-bit colour": deep_png(3),
    "16-bit colour and alpha": deep_png(4),
    "16-bit grey and alpha": deep_png(2),
}
ORDINARY: dict[str, Callable[[int, int], bytes]] = {
    "jpeg": lambda episode, row: encoded(image(episode, row, 12), "JPEG"),
    "grey": lambda episode, row: encoded(image(episode, row, 12)[..., 0]),
    "grey TIFF": lambda episode, row: encoded(image(episode, row, 12)[..., 0], "TIFF"),
    "palette": lambda episode, row: encoded(image(episode, row, 12), mode="P"),
    "alpha": lambda episode, row: encoded(image(episode, row, 12), mode="RGBA"),
}


def write_images(folder: Path, cell: Callable[[int, int], Any], **described: Any) -> Path:
    return write_v3(
        folder, features={CAMERA: feature("image", 12, 12, 3) | described}, columns={CAMERA: cell}
    )


@pytest.mark.parametrize("case", DEPTH_PICTURES)
def test_stored_depth_is_no_camera(case: str, tmp_path: Path) -> None:
    folder = write_images(
        tmp_path / "set", lambda *_: {"bytes": DEPTH_PICTURES[case], "path": None}
    )
    with pytest.warns(DatasetWarning, match=f"left out {CAMERA}"):
        dataset = EpisodeDataset.open(folder)
    assert dataset.spec.cameras == {} and check(folder) == []


def test_torn_first_image_uses_next_episode(tmp_path: Path) -> None:
    deep, torn = (
        {"bytes": content, "path": None} for content in (DEPTH_PICTURES["16-bit PNG"], b"torn")
    )
    folder = write_images(tmp_path / "set", lambda episode, _: torn if episode == 0 else deep)
    with pytest.warns(DatasetWarning, match=f"left out {CAMERA} .*16-bit"):
        assert EpisodeDataset.open(folder).spec.cameras == {}


def test_eight_bits_with_flag_are_depth(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", stored, info={"is_depth_map": True})
    with pytest.warns(DatasetWarning, match="a depth map"):
        assert EpisodeDataset.open(folder).spec.cameras == {}


def test_depth_among_images_refused_when_read(tmp_path: Path) -> None:
    deep = {"bytes": DEPTH_PICTURES["16-bit PNG"], "path": None}
    folder = write_images(
        tmp_path / "set", lambda *which: deep if which == (1, 2) else stored(*which)
    )
    dataset = EpisodeDataset.open(folder)
    with pytest.raises(
        UserError, match=r"episode 1, frame 2, .*16-bit grey is neither 8-bit colour nor grey"
    ):
        dataset.frames(1, "top")
    assert repair(folder, tmp_path / "copy") == ["1"]


@pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")
@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_images_stay_cameras(case: str, tmp_path: Path) -> None:
    cell = ORDINARY[case]
    dataset = EpisodeDataset.open(
        write_images(tmp_path / "set", lambda *which: {"bytes": cell(*which), "path": None})
    )
    assert_own_rows(dataset, range(3))
    assert ("alpha" in " ".join(dataset.summary()["notes"])) == (case == "alpha")


@pytest.mark.parametrize("shape", [[None, None, 3], [0, 0, 3]])
def test_unset_shapes_come_from_images(shape: list[int | None], tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(write_images(tmp_path / "set", stored, shape=shape))
    assert dataset.spec.cameras == {"top": (12, 12)}
    assert_own_rows(dataset, range(3))
    torn = write_images(tmp_path / "torn", lambda *_: {"bytes": b"torn", "path": None}, shape=shape)
    with pytest.warns(
        DatasetWarning,
        match=rf"{CAMERA} \(its shape is not set, and its first image cannot be opened",
    ):
        assert EpisodeDataset.open(torn).spec.cameras == {}


@pytest.mark.parametrize("cell", [lambda name: {"bytes": None, "path": name}, lambda name: name])
def test_image_files_count_as_content(cell: Callable[[str], Any], tmp_path: Path) -> None:
    """The frames of the first set do not come out of the cache for the second."""
    sets = []
    for name, brighter in (("one", 0), ("other", 9)):
        folder = write_images(
            tmp_path / name, lambda *which: cell("images/{:03d}_{:03d}.png".format(*which))
        )
        (folder / "images").mkdir()
        for episode, row in ROWS:
            content = encoded(image(episode, row, 12) + np.uint8(brighter))
            (folder / f"images/{episode:03d}_{row:03d}.png").write_bytes(content)
        sets.append(EpisodeDataset.open(folder))
    one, other = (
        FrameCache.open(dataset, tmp_path / "cache").frames("top", 0, 2)[:, 0, 0, 0]
        for dataset in sets
    )
    np.testing.assert_array_equal(other, one + 9)


def test_one_bit_images_are_black_white(tmp_path: Path) -> None:
    half = np.repeat(np.uint8([[0, 255]]), 12, axis=0).repeat(6, axis=1)
    cell = {"bytes": encoded(half, mode="1"), "path": None}
    dataset = EpisodeDataset.open(write_images(tmp_path / "set", lambda *_: cell))
    np.testing.assert_array_equal(dataset.frames(0, "top")[3, ..., 1], half)


AXES: Mapping[str, tuple[list[int], list[str] | None]] = {
    "c h w": ([3, 12, 20], ["c", "h", "w"]),
    "channel first": ([3, 12, 20], ["channel", "height", "width"]),
    "rgb last": ([12, 20, 3], ["height", "width", "rgb"]),
    "rgb first": ([3, 12, 20], ["rgb", "height", "width"]),
    "C H W": ([3, 12, 20], ["C", "H", "W"]),
    "width first": ([20, 12, 3], ["width", "height", "channels"]),
    "names that lie": ([12, 20, 3], ["channels", "height", "width"]),
    "no names": ([3, 12, 20], None),
    "other names": ([12, 20, 3], ["a", "b", "c"]),
}


@pytest.mark.parametrize("case", AXES)
def test_sizes_by_axes_of_any_name(case: str, tmp_path: Path) -> None:
    shape, names = AXES[case]
    content = encoded(np.zeros((12, 20, 3), np.uint8))
    folder = write_images(
        tmp_path / "set", lambda *_: {"bytes": content, "path": None}, shape=shape, names=names
    )
    dataset = EpisodeDataset.open(folder)
    assert dataset.spec.cameras == {"top": (12, 20)} and dataset.frames(0, "top").shape == (
        6,
        12,
        20,
        3,
    )


def test_cameras_with_equal_short_names(tmp_path: Path) -> None:
    other = "observation.top"
    described = dict.fromkeys((CAMERA, other), feature("image", 12, 12, 3))
    folder = write_v3(
        tmp_path / "set", features=described, columns=dict.fromkeys(described, stored)
    )
    dataset = EpisodeDataset.open(folder)
    assert list(dataset.spec.cameras) == ["top", other]
    assert_own_rows(dataset, range(3))


def test_images_of_several_sizes_refused(tmp_path: Path) -> None:
    cell = {"bytes": encoded(image(1, 2, 9)), "path": None}
    folder = write_images(
        tmp_path / "set", lambda *which: cell if which == (1, 2) else stored(*which)
    )
    with pytest.raises(
        UserError, match=r"episode 1 has observation.images.top of several sizes: .*9, 9.*12, 12"
    ):
        EpisodeDataset.open(folder).frames(1, "top")


def test_images_in_separate_files_are_read(tmp_path: Path) -> None:
    folder = write_images(
        tmp_path / "set", lambda *which: {"bytes": None, "path": "images/{}-{}.png".format(*which)}
    )
    (folder / "images").mkdir()
    for episode, row in ROWS:
        (folder / f"images/{episode}-{row}.png").write_bytes(stored(episode, row)["bytes"])
    assert_own_rows(EpisodeDataset.open(folder), range(3))
    assert pq.read_schema(folder / DATA.format(0)).names[-1] == CAMERA


def test_images_follow_their_exif_orientation(tmp_path: Path) -> None:
    """EXIF's 6: the first column of what is shown is the last row of what is stored."""
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[-1] = 200
    content, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pixels).save(content, "PNG", exif=exif)
    cell = {"bytes": content.getvalue(), "path": None}
    dataset = EpisodeDataset.open(
        write_images(tmp_path / "set", lambda *_: cell, shape=[None, None, 3])
    )
    assert dataset.spec.cameras == {"top": (20, 12)}
    assert (dataset.frames(0, "top")[:, :, 0] == 200).all()


@pytest.mark.parametrize("depth", ["filmed", "stored"])
def test_depth_by_url_is_no_camera(depth: str, tmp_path: Path) -> None:
    if depth == "filmed":
        folder = write_filmed(tmp_path / "set", pixels="gray12le", codec="libx265")
    else:
        deep = {"bytes": DEPTH_PICTURES["16-bit PNG"], "path": None}
        folder = write_images(tmp_path / "set", lambda *_: deep)
    for location in (folder, f"file://{folder}"):
        with pytest.warns(DatasetWarning, match=f"left out {CAMERA} .*1[26]-bit"):
            assert EpisodeDataset.open(location).spec.cameras == {}


def test_odd_first_episode_does_not_decide(tmp_path: Path) -> None:
    def cell(episode: int, row: int) -> dict[str, object]:
        return {"bytes": encoded(image(episode, row, 20 if episode == 0 else 12)), "path": None}

    dataset = EpisodeDataset.open(write_images(tmp_path / "set", cell))
    assert dataset.spec.cameras == {"top": (12, 12)} and dataset.frames(1, "top").shape == (
        5,
        12,
        12,
        3,
    )
    assert repair(dataset.path, tmp_path / "copy") == ["0"]
