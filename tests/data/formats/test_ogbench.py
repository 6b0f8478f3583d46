"""OGBench's files: episodes, actions that count, images, and files that are held out."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.end_to_end_files import (
    HELD_OUT_ROWS,
    ROWS,
    Arrays,
    ogbench,
    ogbench_arrays,
)
from data.formats.known import Seen, look, numbers, small_numbers
from data.formats.npz_sets import values

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.npz import NpzReader
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")
KINDS = ("states", "visual", "compact", "regular")
HELD_OUT = (3, 4)
NO_ACTION = "the last row of an episode is an observation without an action, and is not read"


def require_right(dataset: EpisodeDataset, episodes: tuple[int, ...] = (0, 1, 2)) -> None:
    """Each episode has one step less than rows, since no action follows the last one."""
    all_rows = (*ROWS, *HELD_OUT_ROWS)
    assert len(dataset) == len(episodes)
    for index, number in enumerate(episodes):
        steps = all_rows[number] - 1
        episode = dataset.episode(index)
        np.testing.assert_array_equal(episode.action, small_numbers(number, steps, 5))
        if dataset.spec.cameras:
            frames = episode.images["observations"]
            assert [look(frame) for frame in frames] == [
                Seen(number, step, 0) for step in range(steps)
            ]
            some = dataset.frames(index, "observations", [0, steps - 1])
            assert [look(frame).step for frame in some] == [0, steps - 1]
        else:
            np.testing.assert_array_equal(episode.state, numbers(number, steps, 28))
        done = dataset.columns(index)["next.done"]
        assert done.tolist() == [False] * (steps - 1) + [True]


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_held_out_parts_are_apart(kind: str, tmp_path: Path) -> None:
    folder = ogbench(tmp_path / "data", kind)
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    require_right(pickle.loads(pickle.dumps(dataset)))
    require_right(EpisodeDataset.open(folder / "cube-v0.npz"))
    held_out = EpisodeDataset.open(folder / "cube-v0-val.npz")
    require_right(held_out, HELD_OUT)
    assert "cube-v0-val.npz is held out, by the name, and not" in dataset.reader.contents.notes[0]
    assert held_out.reader.contents.notes[0] == "cube-v0-val.npz is held out, by the name"
    assert dataset.fingerprint != held_out.fingerprint
    assert dataset.terminated is None and held_out.spec.embodiment == "cube-v0"
    assert {task.instruction for task in (*dataset.tasks, *held_out.tasks)} == {"cube-v0"}
    assert (NO_ACTION in dataset.reader.contents.notes) == (kind != "regular")
    assert not [finding for finding in check(folder) if finding.severity == "error"]


def test_simulators_states_are_left_out(tmp_path: Path) -> None:
    left_out = EpisodeDataset.open(ogbench(tmp_path / "a")).summary()["left_out"]
    assert left_out == {"qpos": "not an observation", "qvel": "not an observation"}
    left_out = EpisodeDataset.open(ogbench(tmp_path / "b", "regular")).summary()["left_out"]
    assert left_out == {"next_observations": "of the step that follows, by its name"}


def test_held_out_part_alone_is_read(tmp_path: Path) -> None:
    folder = ogbench(tmp_path / "data")
    (folder / "cube-v0.npz").unlink()
    require_right(EpisodeDataset.open(folder), HELD_OUT)
    assert EpisodeDataset.open(folder).reader.contents.notes[0].endswith("held out, by the name")


def test_single_episodes_have_their_held_out_part(tmp_path: Path) -> None:
    """A file of one episode each would be an episode of a folder without the word val."""
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "cube-v0.npz", **ogbench_arrays(0, ROWS[:1], "states"))
    np.savez(folder / "cube-v0_val.npz", **ogbench_arrays(3, HELD_OUT_ROWS[:1], "states"))
    require_right(EpisodeDataset.open(folder), (0,))
    (folder / "cube-v0_val.npz").rename(folder / "cube-v1.npz")
    dataset = EpisodeDataset.open(folder)
    assert isinstance(dataset.reader, NpzReader) and len(dataset) == 2


def test_parts_with_numbers_are_one_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate(("cube-v0-2", "cube-v0-10", "cube-v0-val-2")):
        np.savez(folder / f"{name}.npz", **ogbench_arrays(number, (ROWS[number],) * 1, "states"))
    np.savez(folder / "cube-v0-1.npz", **ogbench_arrays(3, HELD_OUT_ROWS, "states"))
    dataset = EpisodeDataset.open(folder)
    assert dataset.tasks[0].instruction == "cube-v0"
    require_right(dataset, (3, 4, 0, 1))
    names = [dataset.reader.contents.name_of(index) for index in range(4)]
    assert names == ["cube-v0-1/0", "cube-v0-1/1", "cube-v0-2/0", "cube-v0-10/0"]
    assert dataset.reader.contents.notes[0].startswith("cube-v0-val-2.npz is held out")


@pytest.mark.parametrize("other", ["puzzle-v0", "cube-v1", "cube-v0-noisy"])
def test_several_datasets_in_a_folder_are_refused(other: str, tmp_path: Path) -> None:
    folder = ogbench(tmp_path / "data")
    np.savez(folder / f"{other}.npz", **ogbench_arrays(0, ROWS, "states"))
    with pytest.raises(UserError, match=r"data holds 3 datasets, by the names .*; give one of"):
        EpisodeDataset.open(folder)


def dropped(*names: str):
    return lambda arrays: [arrays.pop(name) for name in names]


TWISTS = {
    "flags as whole numbers": lambda arrays: arrays.update(
        terminals=arrays["terminals"].astype(np.int64)[:, None]
    ),
    "double precision": lambda arrays: arrays.update(
        observations=arrays["observations"].astype(np.float64)
    ),
    "no states of the simulator": dropped("qpos", "qvel"),
    "objects and text": lambda arrays: arrays.update(
        info=np.array([{}] * len(arrays["actions"])), about=np.array("cubes")
    ),
}


@pytest.mark.parametrize("how", TWISTS)
def test_variants_of_arrays_are_read(how: str, tmp_path: Path) -> None:
    require_right(EpisodeDataset.open(ogbench(tmp_path / "data", change=TWISTS[how])))


def test_compact_files_without_valids_are_understood(tmp_path: Path) -> None:
    """Their last two rows are marked, which are no episodes of one row."""
    dataset = EpisodeDataset.open(ogbench(tmp_path / "data", "compact", dropped("valids")))
    require_right(dataset)
    notes = dataset.reader.contents.notes
    assert "terminals marks the last two rows of each episode, which are one end" in notes


def test_observations_may_be_a_group(tmp_path: Path) -> None:
    def change(arrays: Arrays) -> None:
        arrays["observations/image"] = arrays.pop("observations")
        arrays["observations/qpos"] = arrays.pop("qpos")

    dataset = EpisodeDataset.open(ogbench(tmp_path / "data", "visual", change))
    assert dataset.spec.state_names[20] == "observations/qpos_20"
    assert [look(frame) for frame in dataset.frames(2, "image")] == [
        Seen(2, step, 0) for step in range(ROWS[2] - 1)
    ]


def test_rows_without_an_end_are_said(tmp_path: Path) -> None:
    def change(arrays: Arrays) -> None:
        arrays["terminals"][-1] = False

    dataset = EpisodeDataset.open(ogbench(tmp_path / "data", change=change) / "cube-v0.npz")
    assert np.diff(dataset.starts).tolist() == [6, 5, 4]
    assert not dataset.columns(2)["next.done"].any() and dataset.columns(1)["next.done"].any()
    assert dataset.reader.contents.notes[0].startswith("no end is marked in the last 5 rows")


def test_episode_of_one_row_has_no_step(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ogbench_arrays(0, (7, 1, 5), "states"))
    dataset = EpisodeDataset.open(tmp_path / "a.npz")
    assert np.diff(dataset.starts).tolist() == [6, 4]
    assert dataset.reader.contents.name_of(1) == "2"
    reason = "it has a single row, which no action follows"
    assert dataset.summary()["episodes_left_out"] == {"1": reason}
    assert repair(tmp_path / "a.npz", tmp_path / "copy") == ["1"]


OBSERVATIONS = {
    "stacks": (np.zeros((18, 4, 7)), r"float64 \(4, 7\) is neither"),
    "float images": (np.zeros((18, 64, 64, 3), np.float32), "an image of more than 8 bits"),
    "channels first": (np.zeros((18, 3, 64, 64), np.uint8), "with its channels first"),
    "six channels": (np.zeros((18, 32, 32, 6), np.uint8), "neither an 8-bit image"),
    "text": (np.full(18, "a cube"), "text or objects"),
}


@pytest.mark.parametrize("more", [{}, {"masks": np.ones(18, np.float32)}])
def test_rewards_do_not_make_it_another_format(tmp_path: Path, more: dict[str, Any]) -> None:
    plain = ogbench_arrays(0, ROWS, "states")
    np.savez(tmp_path / "plain.npz", **plain)
    rewards = {"rewards": np.zeros(len(plain["actions"]), np.float32)}
    np.savez(tmp_path / "a.npz", **plain | rewards | more)
    one, other = (EpisodeDataset.open(tmp_path / f"{name}.npz") for name in ("plain", "a"))
    assert one.starts.tolist() == other.starts.tolist()
    assert other.reader.contents.terminated is None and other.has_rewards
    is_said = any("read as OGBench's" in note for note in other.reader.contents.notes)
    assert is_said is not bool(more), "masks are of OGBench alone"


@pytest.mark.parametrize("how", OBSERVATIONS)
def test_observations_of_other_kinds_are_refused(how: str, tmp_path: Path) -> None:
    observations, why = OBSERVATIONS[how]
    arrays = ogbench_arrays(0, ROWS, "states") | {"observations": observations}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=rf"no observations that can be read: .*{why}"):
        EpisodeDataset.open(tmp_path / "a.npz")


CONTRADICTIONS = {
    "fewer observations": ({"observations": np.zeros((17, 4))}, "observations has shape"),
    "more ends": ({"terminals": np.zeros(19)}, r"terminals has shape \(19,\); expected 18 rows"),
    "ends of two columns": ({"terminals": np.zeros((18, 2))}, "expected one number per step"),
    "ends that are no flags": ({"terminals": np.arange(18)}, "other values than 0 and 1"),
    "no number": ({"terminals": np.full(18, np.nan)}, "other values than 0 and 1"),
    "no rows": ({"actions": np.zeros((0, 2))}, "has no rows of actions"),
    "actions of text": ({"actions": np.full((18, 2), "up")}, "actions are <U2 of shape"),
    "actions per camera": ({"actions": np.zeros((18, 2, 2))}, r"actions are .* shape \(2, 2\)"),
    "by columns": (
        {"observations": np.asfortranarray(np.ones((18, 4)))},
        "is stored column by column; save it as np.ascontiguousarray",
    ),
    "objects": ({"actions": np.array([None] * 18)}, "actions holds objects"),
    "single rows": ({"terminals": np.ones(18)}, "no episode of more than one row"),
}


@pytest.mark.parametrize("how", CONTRADICTIONS)
def test_contradictions_are_refused(how: str, tmp_path: Path) -> None:
    change, why = CONTRADICTIONS[how]
    np.savez(tmp_path / "a.npz", **ogbench_arrays(0, ROWS, "states") | change)
    with pytest.raises(UserError, match=why):
        EpisodeDataset.open(tmp_path / "a.npz")
    (finding,) = check(tmp_path / "a.npz")
    assert "a.npz" in finding.what


def test_number_not_finite_costs_its_episode(tmp_path: Path) -> None:
    def change(arrays: Arrays) -> None:
        if len(arrays["actions"]) == sum(ROWS):
            arrays["observations"][ROWS[0] + 2, 3] = np.nan

    folder = ogbench(tmp_path / "data", change=change)
    with pytest.raises(UserError, match=r"episode 1: .* holds NaN .*, observations_3.*--fix"):
        EpisodeDataset.open(folder / "cube-v0.npz")
    assert repair(folder / "cube-v0.npz", tmp_path / "copy") == ["1"]
    require_right(EpisodeDataset.open(tmp_path / "copy"), (0, 2))


@pytest.mark.parametrize("kind", ["states", "visual"])
@pytest.mark.parametrize("fraction", [0.3, 0.99])
def test_torn_file_is_refused(kind: str, fraction: float, tmp_path: Path) -> None:
    folder = ogbench(tmp_path / "data", kind)
    content = (folder / "cube-v0.npz").read_bytes()
    (folder / "cube-v0.npz").write_bytes(content[: int(len(content) * fraction)])
    for path in (folder, folder / "cube-v0.npz"):
        with pytest.raises(UserError, match=r"cube-v0.npz (cannot be read as .npz|is a torn)"):
            EpisodeDataset.open(path)
    with pytest.raises(UserError, match="cannot be repaired"):
        repair(folder, tmp_path / "copy")


def test_changed_numbers_fail_their_checksum(tmp_path: Path) -> None:
    np.savez(tmp_path / "cube.npz", **ogbench_arrays(0, ROWS, "states"))
    content = bytearray((tmp_path / "cube.npz").read_bytes())
    content[content.index(b"NUMPY") + 400] ^= 255
    (tmp_path / "cube.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"(CRC|checksum).*observations\.npy"):
        EpisodeDataset.open(tmp_path / "cube.npz")


def test_changed_images_fail_with_the_last_one(tmp_path: Path) -> None:
    """They may be larger than memory, and are not read when the file is opened."""
    path = tmp_path / "cube.npz"
    np.savez_compressed(path, **ogbench_arrays(0, ROWS, "visual"))
    with zipfile.ZipFile(path) as archive:
        checksum = archive.getinfo("observations.npy").CRC.to_bytes(4, "little")
    content = path.read_bytes()
    path.write_bytes(content.replace(checksum, bytes(4)))
    dataset = EpisodeDataset.open(path)
    for index in (0, 1):
        dataset.episode(index)
    with pytest.raises(UserError, match=r"checksum of observations\.npy is another one"):
        dataset.episode(2)


def test_torn_part_of_several_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number, rows in enumerate(((7, 6), (5, 4), (3, 3))):
        np.savez(folder / f"cube-{number}.npz", **ogbench_arrays(2 * number, rows, "states"))
    (folder / "cube-1.npz").write_bytes((folder / "cube-1.npz").read_bytes()[:-60])
    with pytest.raises(UserError, match=r"cube-1.npz cannot be read as .npz.*--fix COPY"):
        EpisodeDataset.open(folder)
    assert repair(folder, tmp_path / "copy") == ["cube-1"]
    assert np.diff(EpisodeDataset.open(tmp_path / "copy").starts).tolist() == [6, 5, 2, 2]


def test_converted_copy_is_equal(tmp_path: Path) -> None:
    folder = ogbench(tmp_path / "data", "visual")
    convert(folder, tmp_path / "copy")
    copy = EpisodeDataset.open(tmp_path / "copy")
    assert np.diff(copy.starts).tolist() == [rows - 1 for rows in ROWS]
    assert look(copy.frames(1, "observations")[3]) == Seen(1, 3, 0)


def test_other_files_are_named(tmp_path: Path) -> None:
    folder = ogbench(tmp_path / "data")
    np.savez(folder / "statistics.npz", mean=np.zeros(3))
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert dataset.reader.contents.notes[0] == "statistics.npz: no episodes, not read"


def test_folders_of_episodes_stay_what_they_are(tmp_path: Path) -> None:
    """One episode a file, each with the mark of its end: all its actions count."""
    (tmp_path / "set").mkdir()
    for number in range(3):
        np.savez(
            tmp_path / "set" / f"ep_{number}.npz",
            observations=values(number, 3),
            actions=values(number, 2) / 1000,
            terminals=np.arange(len(values(number, 1))) == len(values(number, 1)) - 1,
        )
    dataset = EpisodeDataset.open(tmp_path / "set")
    assert isinstance(dataset.reader, NpzReader)
    assert np.diff(dataset.starts).tolist() == [6, 5, 4]
    with pytest.raises(UserError, match=r"a single .npz; give the folder"):
        EpisodeDataset.open(tmp_path / "set/ep_0.npz")
