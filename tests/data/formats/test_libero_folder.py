"""A folder of LIBERO's task files is one dataset: its tasks, their order, and what differs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats import small_hdf5
from data.formats.known import Seen, images, look, numbers
from data.formats.libero_files import CAMERAS, EPISODES, TASKS, Task, actions, libero
from data.formats.small_hdf5 import put

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.libero_folder import LiberoFolderReader
from manyparts.data.tools.check import check, repair

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]
ALL = tuple(range(len(EPISODES)))
SECOND = tuple(number for number in ALL if EPISODES[number][0] != TASKS[1])
INSTRUCTIONS = ("open the top drawer", "put the black bowl down", "pick up the ketchup")


def require_right(dataset: EpisodeDataset, wanted: tuple[int, ...] = ALL) -> None:
    assert len(dataset) == len(wanted)
    names = dataset.spec.state_names
    joints = [number for number, name in enumerate(names) if name.startswith("joint_states")]
    for index, number in enumerate(wanted):
        task, _, rows = EPISODES[number]
        episode = dataset.episode(index)
        assert episode.instruction == INSTRUCTIONS[TASKS.index(task)]
        np.testing.assert_allclose(episode.action, actions(number, rows), atol=1e-7)
        np.testing.assert_array_equal(episode.state[:, joints], numbers(number, rows, 7))
        for camera, frames in enumerate(episode.images.values()):
            assert [look(frame) for frame in frames] == [
                Seen(number, step, camera) for step in range(rows)
            ]


def test_folder_is_one_dataset_of_its_tasks(tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(libero(tmp_path / "set"))
    require_right(dataset)
    require_right(pickle.loads(pickle.dumps(dataset)))
    assert [task.instruction for task in dataset.tasks] == list(INSTRUCTIONS)
    assert dataset.fps == 20 and dataset.spec.embodiment == "Panda"
    assert dataset.spec.action.low == (-1.0,) * 7 and not dataset.spec.action.measured
    assert list(dataset.spec.cameras) == ["agentview", "eye_in_hand"]
    contents = dataset.reader.contents
    assert contents.name_of(15) == "LIVING_ROOM_SCENE2_pick_it_up_demo/demo_10"
    assert contents.name_of(7) == "LIVING_ROOM_SCENE2_pick_it_up_demo/demo_2"
    assert contents.notes == (
        "images are stored bottom row first, and are flipped (LIBERO's, or opengl)",
    )
    assert {finding.check for finding in check(dataset.path)} == {"notes"}
    rows = np.concatenate([actions(number, rows) for number, (_, _, rows) in enumerate(EPISODES)])
    np.testing.assert_allclose(dataset.statistics["action"].mean, rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(dataset.statistics["action"].q50, np.median(rows, 0), atol=1e-6)


def test_one_task_reads_as_in_the_folder(tmp_path: Path) -> None:
    folder = libero(tmp_path / "set")
    dataset = EpisodeDataset.open(folder / f"{TASKS[1].name}.hdf5")
    require_right(dataset, (2, 3, 4))
    for number in (0, 2):
        (folder / f"{TASKS[number].name}.hdf5").unlink()
    require_right(EpisodeDataset.open(folder), (2, 3, 4))


def test_each_file_has_its_own_convention(tmp_path: Path) -> None:
    def change(file: Any, task: Task) -> None:
        if task == TASKS[1]:
            file["data"].attrs["macros_image_convention"] = np.bytes_("opencv")
            for demo in range(3):
                for camera, name in enumerate(CAMERAS):
                    frames = images(2 + demo, TASKS[1].lengths[demo], camera)
                    put(file[f"data/demo_{demo}/obs"], name, frames)

    dataset = EpisodeDataset.open(libero(tmp_path / "set", change))
    require_right(dataset)
    (note,) = dataset.reader.contents.notes
    assert note.startswith("KITCHEN_SCENE1_open_the_drawer_demo, LIVING_ROOM_SCENE2_pick_it_up")


def test_missing_instruction_is_the_files_name(tmp_path: Path) -> None:
    def change(file: Any, task: Task) -> None:
        if task == TASKS[2]:
            del file["data"].attrs["problem_info"]

    dataset = EpisodeDataset.open(libero(tmp_path / "set", change))
    assert [task.instruction for task in dataset.tasks] == [*INSTRUCTIONS[:2], "pick it up"]
    assert dataset.reader.contents.notes[1].startswith(
        "LIVING_ROOM_SCENE2_pick_it_up_demo: there is no instruction: the file's name is used"
    )


def test_scenes_without_robots_are_one_embodiment(tmp_path: Path) -> None:
    def change(file: Any, task: Task) -> None:
        environment = json.loads(file["data"].attrs["env_args"])
        del environment["env_kwargs"]["robots"]
        file["data"].attrs["env_args"] = json.dumps(environment)

    spec = EpisodeDataset.open(libero(tmp_path / "tasks", change)).spec
    assert spec.embodiment == "tasks" and not spec.named


def without_camera(file: Any) -> None:
    for demo in file["data"].values():
        del demo["obs/eye_in_hand_rgb"]


def other_rate(file: Any) -> None:
    environment = json.loads(file["data"].attrs["env_args"])
    environment["env_kwargs"]["control_freq"] = 10
    file["data"].attrs["env_args"] = json.dumps(environment)


def without_steps(file: Any) -> None:
    for demo in file["data"].values():
        put(demo, "actions", np.zeros((0, 7)))


SPOILS = {
    "a camera less": (without_camera, "has cameras agentview 48x64, state .*, unlike most files"),
    "another rate": (other_rate, "7 actions at 10 Hz, unlike most files"),
    "no steps": (without_steps, "has no demonstration that can be read"),
}


@pytest.mark.parametrize("how", SPOILS)
def test_file_unlike_the_others_is_left_out(how: str, tmp_path: Path) -> None:
    spoil, why = SPOILS[how]
    folder = libero(tmp_path / "set", lambda file, task: task == TASKS[1] and spoil(file))
    with pytest.raises(UserError, match=rf"put_the_bowl_down_demo.hdf5.*{why}.*COPY"):
        EpisodeDataset.open(folder)
    (finding,) = [each for each in check(folder) if each.severity == "error"]
    assert finding.where == f"episode {TASKS[1].name}"
    assert repair(folder, tmp_path / "copy") == [TASKS[1].name]
    require_right(EpisodeDataset.open(tmp_path / "copy"), SECOND)


def test_torn_file_is_left_out(tmp_path: Path) -> None:
    folder = libero(tmp_path / "set")
    file = folder / f"{TASKS[1].name}.hdf5"
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(UserError, match=r"put_the_bowl_down_demo.hdf5 cannot be read as HDF5"):
        EpisodeDataset.open(folder)
    assert repair(folder, tmp_path / "copy") == [TASKS[1].name]
    require_right(EpisodeDataset.open(tmp_path / "copy"), SECOND)


def test_bad_demonstration_costs_itself(tmp_path: Path) -> None:
    def change(file: Any, task: Task) -> None:
        if task == TASKS[1]:
            put(file, "data/demo_1/obs/joint_states", np.full((5, 7), np.nan))

    folder = libero(tmp_path / "set", change)
    name = f"{TASKS[1].name}/demo_1"
    with pytest.raises(UserError, match=r"demo_1.*NaN.*--fix COPY` leaves it out$") as refused:
        EpisodeDataset.open(folder)
    assert str(refused.value).count("--fix") == 1
    assert [each.where for each in check(folder) if each.severity == "error"] == [f"episode {name}"]
    assert repair(folder, tmp_path / "copy") == [name]
    kept = tuple(number for number in ALL if number != 3)
    require_right(EpisodeDataset.open(tmp_path / "copy"), kept)


def test_other_files_are_named_or_refused(tmp_path: Path) -> None:
    folder = libero(tmp_path / "set")
    with h5py.File(folder / "statistics.hdf5", "w") as file:
        file["mean"] = np.zeros(3)
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert dataset.summary()["episodes_left_out"] == {"statistics": "not in the layout of LIBERO"}
    small_hdf5.robomimic(folder / "lift.hdf5")
    with pytest.raises(UserError, match=r"several formats: LIBERO .*, robomimic \(lift.hdf5\)"):
        EpisodeDataset.open(folder)


def test_openvla_copies_are_one_dataset(tmp_path: Path) -> None:
    """They have no attributes: the names of arrays say that they are LIBERO's."""

    def change(file: Any, task: Task) -> None:
        for name in list(file["data"].attrs):
            del file["data"].attrs[name]

    dataset = EpisodeDataset.open(libero(tmp_path / "set", change))
    assert isinstance(dataset.reader, LiberoFolderReader)
    names = ["open the drawer", "put the bowl down", "pick it up"]
    assert [task.instruction for task in dataset.tasks] == names
    assert look(dataset.frames(2, "agentview")[1]) == Seen(2, 1, 0)
