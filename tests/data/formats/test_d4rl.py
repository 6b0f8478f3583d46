"""D4RL's files: where episodes end and how, next observations, and what is left out or said."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats.end_to_end_files import ENDS, d4rl, put_arrays
from data.formats.known import Seen, images, look, numbers, small_numbers

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]
LENGTHS = tuple(rows for rows, _, _ in ENDS)
TERMINATED = {
    "mujoco": [False, True, True, False],
    "maze": [False] * 4,
    "old": [True, True, True, True],
}


def require_right(dataset: EpisodeDataset, wanted: tuple[int, ...] = (0, 1, 2, 3)) -> None:
    """All rows are steps: the action of an episode's last row was taken, too."""
    assert len(dataset) == len(wanted)
    for index, number in enumerate(wanted):
        rows = LENGTHS[number]
        episode = dataset.episode(index)
        np.testing.assert_array_equal(episode.state, numbers(number, rows, 11))
        np.testing.assert_array_equal(episode.action, small_numbers(number, rows, 3))
        np.testing.assert_array_equal(episode.reward, np.arange(rows, dtype=np.float32) / 8)
        done = dataset.columns(index)["next.done"]
        assert done.tolist() == [False] * (rows - 1) + [True]


@pytest.mark.parametrize("kind", TERMINATED)
def test_episodes_end_in_two_ways(kind: str, tmp_path: Path) -> None:
    ends = ENDS if kind != "old" else tuple((rows, 1, 0) for rows in LENGTHS)
    path = d4rl(tmp_path / "set" / "hopper_medium-v2.hdf5", kind, ends=ends)
    for location in (path, path.parent):
        dataset = EpisodeDataset.open(location)
        require_right(dataset)
        require_right(pickle.loads(pickle.dumps(dataset)))
        assert dataset.terminated is not None
        assert dataset.terminated.tolist() == TERMINATED[kind]
        assert [episode.terminated for episode in dataset] == TERMINATED[kind]
        assert dataset.tasks[0].instruction == "hopper_medium-v2"
        assert not [finding for finding in check(location) if finding.severity == "error"]
    convert(path, tmp_path / "copy", seal_seconds=0)
    copy = EpisodeDataset.open(tmp_path / "copy")
    assert copy.terminated is not None and copy.terminated.tolist() == TERMINATED[kind]


def test_infos_and_metadata_are_named(tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(d4rl(tmp_path / "hopper.hdf5"))
    assert dataset.summary()["left_out"] == {
        "infos": "not observations: qpos",
        "metadata": "not observations: algorithm, policy/fc0/weight",
        "next_observations": "of the step that follows, by its name",
    }
    assert dataset.spec.state_dimension == 11 and dataset.spec.action.measured


def without_timeouts(file: Any) -> None:
    del file["timeouts"]


def test_next_observations_show_missing_marks(tmp_path: Path) -> None:
    """As in files of D4RL's first version, where episodes that were cut off have no mark."""
    dataset = EpisodeDataset.open(d4rl(tmp_path / "hopper.hdf5", change=without_timeouts))
    assert np.diff(dataset.starts).tolist() == list(LENGTHS)
    assert dataset.terminated is not None and dataset.terminated.tolist() == TERMINATED["mujoco"]
    note, open_end, _ = dataset.reader.contents.notes
    assert note.startswith("1 episode without a mark at the end: next_observations there is not")
    assert open_end.startswith("no end is marked in the last 3 rows")


def test_strange_next_observations_mark_no_ends(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        file["next_observations"][...] = file["next_observations"][...] + 7

    dataset = EpisodeDataset.open(d4rl(tmp_path / "hopper.hdf5", change=change))
    require_right(dataset)
    assert dataset.reader.contents.notes[0].startswith("next_observations are not the observations")


def test_last_episode_may_be_open(tmp_path: Path) -> None:
    ends = ((6, 0, 1), (5, 0, 0))
    dataset = EpisodeDataset.open(d4rl(tmp_path / "hopper.hdf5", ends=ends))
    assert np.diff(dataset.starts).tolist() == [6, 5]
    assert not dataset.columns(1)["next.done"].any()
    assert dataset.reader.contents.notes[0] == (
        "no end is marked in the last 5 rows: they are read as an episode that was cut off"
    )


def test_file_without_any_end_is_said(tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(d4rl(tmp_path / "hopper.hdf5", "old", ends=((9, 0, 0),)))
    assert np.diff(dataset.starts).tolist() == [9]
    assert dataset.reader.contents.notes[0].startswith("no row is marked as the end of an episode")


def test_episodes_of_one_row_are_said(tmp_path: Path) -> None:
    ends = ((1, 1, 0), (4, 0, 1), (1, 0, 1))
    dataset = EpisodeDataset.open(d4rl(tmp_path / "hopper.hdf5", ends=ends))
    assert np.diff(dataset.starts).tolist() == [1, 4, 1]
    assert dataset.terminated is not None and dataset.terminated.tolist() == [True, False, False]
    assert dataset.reader.contents.notes[0].startswith("2 episodes of a single row")


VARIANTS: dict[str, dict[str, Any]] = {
    "not compressed": {"chunks": None},
    "lzf": {"compression": "lzf"},
    "one number a row": {"change": lambda file: put_arrays(
        file, {"rewards": file["rewards"][...][:, None], "terminals": file["terminals"][...] * 1.0}
    )},
    "double precision": {"change": lambda file: put_arrays(
        file, {"observations": file["observations"][...].astype(np.float64)}
    )},
    "text next to them": {"change": lambda file: put_arrays(file, {"env": np.bytes_("Hopper")})},
}  # fmt: skip


@pytest.mark.parametrize("how", VARIANTS)
def test_variants_are_read(how: str, tmp_path: Path) -> None:
    require_right(EpisodeDataset.open(d4rl(tmp_path / "hopper.hdf5", **VARIANTS[how])))


def test_rewards_may_be_missing(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["rewards"]

    dataset = EpisodeDataset.open(
        d4rl(tmp_path / "x.hdf5", "old", ends=((6, 1, 0), (5, 1, 0)), change=change)
    )
    assert np.diff(dataset.starts).tolist() == [6, 5] and not dataset.has_rewards
    assert dataset.terminated is not None and dataset.terminated.all()


def test_timeouts_alone_tell_no_terminations(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["terminals"]

    dataset = EpisodeDataset.open(d4rl(tmp_path / "x.hdf5", "maze", change=change))
    require_right(dataset)
    assert dataset.terminated is None


def test_images_as_observations_are_a_camera(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        frames = [images(number, rows) for number, rows in enumerate(LENGTHS)]
        put_arrays(file, {"observations": np.concatenate(frames), "next_observations": None})

    dataset = EpisodeDataset.open(d4rl(tmp_path / "x.hdf5", change=change))
    assert list(dataset.spec.cameras) == ["observations"] and not dataset.spec.state_names
    for index, rows in enumerate(LENGTHS):
        seen = [look(frame) for frame in dataset.frames(index, "observations")]
        assert seen == [Seen(index, step, 0) for step in range(rows)]


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "fewer rewards": ({"rewards": np.zeros(17)}, r"rewards has shape \(17,\); expected 18 rows"),
    "rewards of two": ({"rewards": np.zeros((18, 2))}, "rewards has shape .* one number per step"),
    "three dimensions": ({"observations": np.zeros((18, 4, 7))}, "no observations that can be"),
    "ends of other values": ({"timeouts": np.full(18, 2)}, "other values than 0 and 1"),
    "no rows": ({"actions": np.zeros((0, 3))}, "no rows of actions"),
    "one value": ({"observations": np.float32(3)}, "has no observations"),
}


@pytest.mark.parametrize("how", FAULTS)
def test_contradictions_are_refused(how: str, tmp_path: Path) -> None:
    values, why = FAULTS[how]
    path = d4rl(tmp_path / "x.hdf5", change=lambda file: put_arrays(file, values))
    with pytest.raises(UserError, match=rf"x.hdf5.*{why}"):
        EpisodeDataset.open(path)


def test_number_not_finite_costs_its_episode(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        file["actions"][LENGTHS[0] + 1, 0] = np.inf

    path = d4rl(tmp_path / "x.hdf5", change=change)
    with pytest.raises(UserError, match=r"episode 1: action holds NaN or infinity .*--fix"):
        EpisodeDataset.open(path)
    assert repair(path, tmp_path / "copy") == ["1"]
    require_right(EpisodeDataset.open(tmp_path / "copy"), (0, 2, 3))


def test_torn_chunk_is_named(tmp_path: Path) -> None:
    path = d4rl(tmp_path / "x.hdf5")
    with h5py.File(path) as file:
        chunk = file["observations"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(UserError, match="observations cannot be read"):
        EpisodeDataset.open(path)


@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_truncated_file_is_refused(fraction: float, tmp_path: Path) -> None:
    path = d4rl(tmp_path / "set" / "x.hdf5")
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    for location in (path, path.parent):
        with pytest.raises(UserError, match=r"x.hdf5 cannot be read as HDF5"):
            EpisodeDataset.open(location)


def test_arrays_in_other_files_are_refused(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["actions"]
        file.create_dataset("actions", (18, 3), "f4", external=[("secret.bin", 0, 18 * 12)])

    (tmp_path / "secret.bin").write_bytes(bytes(18 * 12))
    with pytest.raises(UserError, match="actions lies in other files, which are not read"):
        EpisodeDataset.open(d4rl(tmp_path / "x.hdf5", change=change))


def test_several_parts_are_one_dataset(tmp_path: Path) -> None:
    for number in range(2):
        d4rl(tmp_path / "set" / f"hopper_{number}.hdf5", ends=((3 + number, 0, 1), (2, 1, 0)))
    dataset = EpisodeDataset.open(tmp_path / "set")
    assert np.diff(dataset.starts).tolist() == [3, 2, 4, 2]
    assert dataset.tasks[0].instruction == "hopper"
    assert dataset.terminated is not None
    assert dataset.terminated.tolist() == [False, True, False, True]
