"""LIBERO's files: images from the bottom row, and instructions in attributes or in the file's
name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.small_hdf5 import put, robomimic

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.libero import instruction_from_name

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]
NAMES = ("agentview_rgb", "eye_in_hand_rgb", "ee_ori", "ee_pos", "gripper_states", "joint_states")
UPRIGHT = np.zeros((16, 24, 3), np.uint8)
UPRIGHT[:4] = 255


def regenerated(path: Path, names: tuple[str, ...] = NAMES, **data: Any) -> EpisodeDataset:
    """As OpenVLA's regenerate_libero_dataset.py writes them: no attributes but those of `data`."""

    def change(_: int, demo: Any) -> None:
        del demo["obs/hand"]
        for name in names:
            one = UPRIGHT[::-1] if name.endswith("_rgb") else np.ones(3)
            put(demo, f"obs/{name}", np.stack([one] * len(demo["actions"])))

    return EpisodeDataset.open(robomimic(path, change, data))


def test_openvla_copy_is_read_as_libero(tmp_path: Path) -> None:
    dataset = regenerated(tmp_path / "KITCHEN_SCENE10_turn_on_the_stove_demo.hdf5")
    assert [task.instruction for task in dataset.tasks] == ["turn on the stove"]
    assert set(dataset.spec.cameras) == {"agentview", "eye_in_hand"}
    for camera in dataset.spec.cameras:
        np.testing.assert_array_equal(dataset.frames(0, camera)[1], UPRIGHT)
    said, turned = dataset.reader.contents.notes
    assert said == "there is no instruction: the file's name is used, 'turn on the stove'"
    assert "are flipped (LIBERO's, by the names of the arrays" in turned


def test_attributes_come_before_names(tmp_path: Path) -> None:
    data = {"macros_image_convention": "opencv", "language": "lift it"}
    dataset = regenerated(tmp_path / "pick_it_up_demo.hdf5", **data)
    np.testing.assert_array_equal(dataset.frames(0, "agentview")[1], UPRIGHT[::-1])
    assert [task.instruction for task in dataset.tasks] == [
        "lift it"
    ] and not dataset.reader.contents.notes


def test_one_such_name_is_not_liberos(tmp_path: Path) -> None:
    dataset = regenerated(tmp_path / "pick_it_up_demo.hdf5", ("agentview_rgb", "ee_pos", "qpos"))
    np.testing.assert_array_equal(dataset.frames(0, "agentview")[1], UPRIGHT[::-1])
    assert [task.instruction for task in dataset.tasks] == ["unknown"]


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("pick_up_the_black_bowl_demo", "pick up the black bowl"),
        ("LIVING_ROOM_SCENE2_put_both_pots_on_it_demo", "put both pots on it"),
        ("STUDY_SCENE1_pick_up_the_book_demo", "pick up the book"),
        ("libero_goal", ""),
        ("x_demo", ""),
        ("demo", ""),
    ],
)
def test_libero_file_name_holds_instruction(name: str, instruction: str) -> None:
    assert instruction_from_name(Path(f"a_b_demo/{name}.hdf5"), NAMES) == instruction
    assert instruction_from_name(Path(f"{name}.hdf5"), ("agentview_image", "robot0_eef_pos")) == ""
