"""ALOHA's and ACT's episodes: every row, camera and colour, and what is left out, said or
refused."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats.aloha_files import CAMERAS, LENGTHS, aloha, encoded, write_raw
from data.formats.known import Seen, images, look, numbers
from data.formats.small_hdf5 import leaves_out_the_second, put

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.locations import short_name
from manyparts.data.tools.check import check
from manyparts.data.tools.convert import convert

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]
KINDS: dict[str, dict[str, Any]] = {
    "raw": {},
    "one camera": {"cameras": ("top",), "lengths": (4,) * 11},
    "no camera": {"cameras": ()},
    "compressed": {"jpeg": "bgr"},
    "mobile": {"mobile": True},
    "one row": {"lengths": (1, 3)},
}


def require_right(dataset: EpisodeDataset, lengths: tuple[int, ...] = LENGTHS) -> None:
    """Every row is that of its episode and step, with the colours of each camera as they were."""
    assert np.diff(dataset.starts).tolist() == list(lengths)
    for index, episode in enumerate(dataset):
        rows = lengths[index]
        action = numbers(index, rows, 14) + 0.5
        if dataset.spec.action.dimension == 16:
            action = np.concatenate([action, numbers(index, rows, 2) - 0.5], axis=1)
        np.testing.assert_array_equal(episode.action, action)
        np.testing.assert_array_equal(episode.state, numbers(index, rows, 14))
        for number, frames in enumerate(episode.images.values()):
            assert [look(frame) for frame in frames] == [
                Seen(index, step, number) for step in range(rows)
            ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_and_colour_is_right(kind: str, tmp_path: Path) -> None:
    settings = KINDS[kind]
    dataset = EpisodeDataset.open(aloha(tmp_path / "cups", **settings))
    require_right(dataset, settings.get("lengths", LENGTHS))
    require_right(pickle.loads(pickle.dumps(dataset)), settings.get("lengths", LENGTHS))
    assert list(dataset.spec.cameras) == list(settings.get("cameras", CAMERAS))
    assert dataset.fps == dataset.spec.action.control_rate_hz == 50
    assert dataset.summary()["left_out"] == {"qvel": "not part of the state, which is qpos"}
    assert not [finding for finding in check(dataset.path) if finding.severity == "error"]


def test_actions_are_joint_positions(tmp_path: Path) -> None:
    arms = EpisodeDataset.open(aloha(tmp_path / "arms", cameras=())).spec
    base = EpisodeDataset.open(aloha(tmp_path / "base", cameras=(), mobile=True)).spec
    assert arms.action.representation == "joint_position"
    assert base.action.representation == "joint_position, base_velocity"

    def seven(number: int, root: Any) -> None:
        put(root, "observations/qpos", numbers(number, LENGTHS[number], 7))

    other = EpisodeDataset.open(aloha(tmp_path / "other", cameras=(), change=seven)).spec
    assert other.action.representation == "unknown"


def test_order_of_colours_is_said_and_chosen(tmp_path: Path) -> None:
    swapped = aloha(tmp_path / "swapped", jpeg="bgr")
    right = aloha(tmp_path / "right", jpeg="rgb")
    (said, *_) = EpisodeDataset.open(right).reader.contents.notes
    assert "cam_high, cam_left_wrist, cam_right_wrist: encoded images" in said
    assert "red and blue are exchanged" in said and "put @jpeg=rgb behind the location" in said
    assert look(EpisodeDataset.open(right).frames(0, "cam_high")[0]).red_is_blue
    for location in (f"{swapped}@jpeg=bgr", Path(f"{right}@jpeg=rgb")):
        dataset = EpisodeDataset.open(location)
        require_right(dataset)
        assert dataset.location == str(location) and short_name(location) == dataset.path.name
        require_right(EpisodeDataset.open(dataset.location))
        assert str(location).rpartition("=")[2] in dataset.reader.contents.notes[0]
        assert not [finding for finding in check(location) if finding.severity == "error"]
    # Decoded images are kept by fingerprint.
    plain = EpisodeDataset.open(right)
    assert plain.fingerprint != EpisodeDataset.open(f"{right}@jpeg=rgb").fingerprint
    convert(f"{right}@jpeg=rgb", tmp_path / "converted")
    require_right(EpisodeDataset.open(tmp_path / "converted"))


@pytest.mark.parametrize(
    ("behind", "why"),
    [
        ("@jpeg=png", "jpeg is 'png'; choices: bgr, rgb"),
        ("@jpeg=rgb", "has no encoded images; leave @jpeg=rgb out"),
        ("@colours=rgb", "no dataset at"),
    ],
)
def test_unknown_options_are_refused(behind: str, why: str, tmp_path: Path) -> None:
    folder = aloha(tmp_path / "cups", lengths=(2,))
    with pytest.raises(UserError, match=why):
        EpisodeDataset.open(f"{folder}{behind}")


def test_names_like_options_are_paths(tmp_path: Path) -> None:
    folder = aloha(tmp_path / "cups@jpeg=rgb")
    require_right(EpisodeDataset.open(folder))
    assert EpisodeDataset.open(folder).reader.contents.options == ""


@pytest.mark.parametrize("how", ["bytes of their own length", "no attribute", "strings"])
def test_encoded_images_are_seen_by_content(how: str, tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        del root.attrs["compress"], root["compress_len"]
        frames = images(number, LENGTHS[number])
        contents = [encoded(frame, "bgr") for frame in frames]
        if how == "no attribute":
            return
        del root["observations/images/cam_high"]
        kind = h5py.vlen_dtype(np.uint8)
        if how == "strings":
            kind = np.dtype(f"S{max(map(len, contents))}")
        kept = root.create_dataset("observations/images/cam_high", (len(contents),), kind)
        for row, content in enumerate(contents):
            kept[row] = np.frombuffer(content, np.uint8) if how != "strings" else content

    require_right(EpisodeDataset.open(aloha(tmp_path / "cups", jpeg="bgr", change=change)))


def test_raw_and_encoded_episodes_mix(tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        if number == 1:
            write_raw(root, "cam_high", images(number, LENGTHS[number]))

    dataset = EpisodeDataset.open(aloha(tmp_path / "cups", jpeg="bgr", change=change))
    require_right(dataset)


def test_other_precision_and_sizes_are_read(tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        rows = LENGTHS[number]
        put(root, "action", numbers(number, rows, 14).astype(np.float64) + 0.5)
        write_raw(root, "cam_left_wrist", images(number, rows, 1, (24, 40)))
        put(root, "observations/images/depth", np.ones((rows, 24, 40), np.uint16))
        put(root, "observations/effort", np.zeros((rows, 14)))
        put(root, "reward", np.zeros(rows))

    dataset = EpisodeDataset.open(aloha(tmp_path / "cups", change=change))
    require_right(dataset)
    assert dataset.spec.cameras["cam_left_wrist"] == (24, 40)
    left_out = dataset.summary()["left_out"]
    assert set(left_out) == {"qvel", "effort", "reward", "images/depth"}
    assert left_out["images/depth"].startswith("depth") and "not an obs" in left_out["reward"]


SPOILS: dict[str, tuple[Any, str]] = {
    "camera is missing": (
        lambda root: root.pop("observations/images/cam_high"),
        "cam_high is missing",
    ),
    "camera of another size": (
        lambda root: write_raw(root, "cam_high", images(1, LENGTHS[1], 0, (24, 40))),
        r"cam_high is uint8 \(24, 40, 3\), in most episodes uint8 \(48, 64, 3\)",
    ),
    "fewer images": (
        lambda root: write_raw(root, "cam_high", images(1, 2)),
        "cam_high 2 rows for 5 actions",
    ),
    "no base": (lambda root: root.pop("base_action"), "base_action is missing"),
    "other width": (
        lambda root: put(root, "observations/qpos", np.zeros((LENGTHS[1], 7))),
        r"qpos is float64 \(7,\)",
    ),
    "not a number": (
        lambda root: put(root, "observations/qpos", np.full((LENGTHS[1], 14), np.nan)),
        "observation.state holds NaN",
    ),
    "no rows": (lambda root: put(root, "action", np.zeros((0, 14))), "no rows of action"),
}


@pytest.mark.parametrize("how", SPOILS)
def test_bad_episode_is_named_and_left_out(how: str, tmp_path: Path) -> None:
    spoil, why = SPOILS[how]

    def change(number: int, root: Any) -> None:
        if number == 1:
            spoil(root)

    folder = aloha(tmp_path / "cups", mobile=True, change=change)
    with pytest.raises(UserError, match=rf"episode_1.*{why}.*--fix COPY"):
        EpisodeDataset.open(folder)
    (finding,) = [each for each in check(folder) if each.severity == "error"]
    assert finding.where == "episode episode_1"


def test_torn_episode_is_left_out(tmp_path: Path) -> None:
    folder = aloha(tmp_path / "cups")
    (folder / "episode_1.hdf5").write_bytes((folder / "episode_1.hdf5").read_bytes()[:-3000])
    for number in (1, 2):
        (folder / f"episode_{number}.hdf5").rename(folder / f"{number}.hdf5")
    (folder / "episode_0.hdf5").rename(folder / "0.hdf5")
    leaves_out_the_second(folder, "1.hdf5", tmp_path / "copy")


def test_torn_image_is_named(tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        if number == 1:
            root["observations/images/cam_high"][2, 20:] = 0

    dataset = EpisodeDataset.open(aloha(tmp_path / "cups", jpeg="bgr", change=change))
    with pytest.raises(UserError, match=r"episode_1.hdf5: .*cam_high, frame 2, is not a readable"):
        dataset.episode(1)


def test_files_that_are_no_episodes_are_named(tmp_path: Path) -> None:
    folder = aloha(tmp_path / "cups")
    with h5py.File(folder / "statistics.hdf5", "w") as file:
        file["mean"] = np.zeros(3)
    (folder / "episode_0_video.mp4").write_bytes(bytes(9))
    (folder / "._episode_0.hdf5").write_bytes(b"\0\5\26\7")
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert dataset.summary()["episodes_left_out"] == {"statistics": "not in the layout of ALOHA"}


def test_missing_episodes_are_noted(tmp_path: Path) -> None:
    folder = aloha(tmp_path / "cups", lengths=(2,) * 12)
    (folder / "episode_7.hdf5").unlink()
    dataset = EpisodeDataset.open(folder)
    assert dataset.reader.contents.name_of(7) == "episode_8"
    assert dataset.reader.contents.name_of(10) == "episode_11"
    assert dataset.reader.contents.notes[0].startswith("missing episodes: episode_7;")


def test_one_episode_opens_alone(tmp_path: Path) -> None:
    folder = aloha(tmp_path / "cups")
    dataset = EpisodeDataset.open(folder / "episode_0.hdf5")
    require_right(dataset, LENGTHS[:1])
    assert dataset.tasks[0].instruction == "cups"
    assert [finding.check for finding in check(folder / "episode_0.hdf5")] == [
        "notes",
        "instructions",
    ]


TEXTS: dict[str, Any] = {
    "attribute": lambda root: root.attrs.update({"language_instruction": "stack the cups"}),
    "bytes": lambda root: root.attrs.update({"instruction": np.bytes_("stack the cups")}),
    "array": lambda root: put(root, "language_raw", np.array([b"stack the cups"])),
}


@pytest.mark.parametrize("how", TEXTS)
def test_instructions_in_files_are_used(how: str, tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        if number:
            TEXTS[how](root)

    dataset = EpisodeDataset.open(aloha(tmp_path / "cups", cameras=(), change=change))
    assert [episode.instruction for episode in dataset] == ["cups", *["stack the cups"] * 2]
    (note,) = dataset.reader.contents.notes
    assert note.startswith("episode_0 lack an instruction: the folder's name is used, 'cups'")
    assert "50 Hz" in note and set(dataset.summary()["left_out"]) == {"qvel"}


def test_layout_without_qpos_reads_numbers(tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        del root["observations/qpos"]

    dataset = EpisodeDataset.open(aloha(tmp_path / "cups", change=change))
    assert dataset.spec.state_names[0] == "qvel_0" and not dataset.summary()["left_out"]


def test_joints_of_another_length_are_not_replaced(tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        short = root["observations/qpos"][:-1]
        del root["observations/qpos"]
        put(root, "observations/qpos", short)

    with pytest.raises(UserError, match=r"cups: observations/qpos has .* rows for .* actions"):
        EpisodeDataset.open(aloha(tmp_path / "cups", change=change))


def test_actions_of_text_are_refused(tmp_path: Path) -> None:
    def change(number: int, root: Any) -> None:
        put(root, "action", np.full((LENGTHS[number], 2), b"left"))

    with pytest.raises(UserError, match=re.escape("action is |S4 of shape (2,) per step; write")):
        EpisodeDataset.open(aloha(tmp_path / "cups", change=change))


def test_many_files_need_few_handles(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    folder = aloha(tmp_path / "cups", lengths=(1,) * 60, cameras=())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 40, hard))
    try:
        dataset = EpisodeDataset.open(folder)
        assert [float(episode.state[0, 0]) for episode in dataset] == [
            100.0 * number for number in range(60)
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_subfolders_are_named(tmp_path: Path) -> None:
    whole, further = tmp_path / "set", tmp_path / "set" / "second day"
    aloha(whole)
    alone = EpisodeDataset.open(whole)
    aloha(further)
    (whole / "plots").mkdir()
    dataset = EpisodeDataset.open(whole)
    assert dataset.num_episodes == alone.num_episodes
    said = set(dataset.reader.contents.notes) - set(alone.reader.contents.notes)
    assert said == {"second day: subfolders with further files, not read"}
