"""Which arrays of robomimic files are images: encoded, flipped or raw; others are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats.small_hdf5 import LENGTHS, TEXT, encoded, opened, padded, put, robomimic

from manyparts.data.tools.check import check

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]


def image(step: int) -> np.ndarray:
    return np.full((16, 24, 3), 10 * step, np.uint8)


@pytest.mark.parametrize(
    ("data", "flipped"),
    [
        ({"problem_info": "{}"}, True),
        ({"env_args": json.dumps({"bddl_file": "x"})}, True),
        ({"macros_image_convention": "opengl"}, True),
        ({"macros_image_convention": "opencv", "problem_info": "{}"}, False),
        ({}, False),
    ],
)
def test_libero_images_are_flipped(data: dict[str, str], flipped: bool, tmp_path: Path) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:4, :6] = 255  # top, left

    def change(_: int, demo: Any) -> None:
        stored = upright[::-1] if flipped else upright
        put(demo, "obs/agentview_rgb", np.stack([stored] * len(demo["actions"])))

    dataset = opened(tmp_path, change, **data)
    np.testing.assert_array_equal(dataset.frames(0, "agentview")[2], upright)
    assert any("are flipped" in note for note in dataset.reader.contents.notes) == flipped


def rows(demo: Any, kind: str = "JPEG", channels: int = 3) -> list[bytes]:
    frames = [
        image(step)[..., 0] if channels == 1 else image(step)
        for step in range(len(demo["actions"]))
    ]
    return [encoded(frame, kind) for frame in frames]


def put_various(demo: Any, name: str, contents: list[bytes]) -> None:
    kept = demo.create_dataset(name, (len(contents),), h5py.vlen_dtype(np.uint8))
    for row, content in enumerate(contents):
        kept[row] = np.frombuffer(content, np.uint8)


ENCODED: dict[str, Callable[[int, Any], None]] = {
    "padded": lambda number, demo: put(
        demo, "obs/top_image_jpeg", padded(rows(demo), 2000 + 10 * number)
    ),
    "one length": lambda _, demo: put(
        demo, "obs/top_image", padded(rows(demo), len(rows(demo)[0]))
    ),
    "various": lambda _, demo: put_various(demo, "obs/top", rows(demo)),
    "png": lambda _, demo: put(demo, "obs/top_png", padded(rows(demo, "PNG"))),
    "grey": lambda _, demo: put(demo, "obs/top", padded(rows(demo, channels=1))),
    "fixed": lambda _, demo: put(demo, "obs/top", np.array(rows(demo), dtype="S2000")),
    "opaque": lambda _, demo: put(demo, "obs/top", np.array(rows(demo), dtype="V2000")),
    "webp": lambda _, demo: put(demo, "obs/top", padded(rows(demo, "WEBP"))),
}


@pytest.mark.parametrize("how", ENCODED)
def test_encoded_rows_are_images_not_state(how: str, tmp_path: Path) -> None:
    dataset = opened(tmp_path, ENCODED[how])
    assert dict(dataset.spec.cameras) == {"top": (16, 24)} and dataset.spec.state_dimension == 3
    frames = dataset.episode(0).images["top"].astype(int)
    assert np.abs(frames - np.stack([image(step) for step in range(LENGTHS[0])])).max() < 6
    assert any("red, green, blue" in note for note in dataset.reader.contents.notes)


def test_other_bytes_are_left_out(tmp_path: Path) -> None:
    def change(_: int, demo: Any) -> None:
        length = len(demo["actions"])
        put(demo, "obs/bytes", np.ones((length, 2000), np.uint8))
        put(demo, "obs/depth_png", padded([encoded(np.zeros((8, 8), np.uint16), "PNG")] * length))
        put(demo, "obs/torn", padded([b"\xff\xd8\xff\xe0 no picture"] * length))
        put(demo, "obs/flags", np.ones((length, 4), np.uint8))
        put(demo, "obs/words", ["x"] * length, dtype=TEXT)

    dataset = opened(tmp_path, change)
    left_out = dataset.summary()["left_out"]
    assert (
        set(left_out) == {"bytes", "depth_png", "torn", "words"}
        and "2000 bytes per step" in left_out["bytes"]
    )
    assert dataset.spec.state_dimension == 7 and not dataset.spec.cameras


def test_torn_image_spoils_its_demonstration(tmp_path: Path) -> None:
    def change(number: int, demo: Any) -> None:
        contents = rows(demo)
        contents[2] = contents[2][:100] if number == 1 else contents[2]
        put(demo, "obs/top", padded(contents))

    path = robomimic(tmp_path / "set.hdf5", change)
    (finding,) = [each for each in check(path) if each.severity == "error"]
    assert (
        finding.where == "episode demo_1"
        and "obs/top, frame 2, is not a readable image" in finding.what
    )


def test_non_images_are_named_with_reason(tmp_path: Path) -> None:
    def change(_: int, demo: Any) -> None:
        length = len(demo["actions"])
        put(demo, "obs/grey", np.zeros((length, 16, 24), np.uint8))
        put(demo, "obs/left/rgb", np.zeros((length, 16, 24, 3), np.uint8))
        put(demo, "obs/right/rgb", np.ones((length, 16, 24, 3), np.uint8))
        put(demo, "obs/agentview_depth", np.zeros((length, 16, 24, 1), np.float32))
        put(demo, "obs/wrist_depth", np.zeros((length, 16, 24, 1), np.uint8))
        put(demo, "obs/wrist_seg", padded(rows(demo, "PNG", 1)))
        put(demo, "obs/floats", np.zeros((length, 16, 24, 3), np.float32))
        put(demo, "obs/stack", np.zeros((length, 4, 16, 24), np.uint8))
        put(demo, "obs/intrinsics", np.eye(3))
        put(demo, "obs/scalar", 3.0)
        put(demo, "obs/nothing", h5py.Empty("f4"))
        put(demo, "datagen/pose", np.zeros((length, 4, 4)))

    dataset = opened(tmp_path, change)
    left_out = dataset.summary()["left_out"]
    assert (
        set(dataset.spec.cameras) == {"grey", "left_rgb", "right_rgb"}
        and dataset.spec.state_dimension == 3
    )
    assert (
        dataset.frames(0, "grey").shape == (6, 16, 24, 3) and dataset.frames(0, "right_rgb").all()
    )
    names = {
        "agentview_depth",
        "wrist_depth",
        "wrist_seg",
        "floats",
        "stack",
        "intrinsics",
        "scalar",
        "nothing",
        "datagen",
    }
    assert (
        set(left_out) == names
        and "depth" in left_out["wrist_depth"]
        and left_out["scalar"] == "a single value"
    )
