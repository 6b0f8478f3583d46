"""Folders of LIBERO's task files, laid out as its create_dataset.py writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from data.formats.known import images, numbers, small_numbers

CAMERAS = ("agentview_rgb", "eye_in_hand_rgb")


@dataclass(frozen=True)
class Task:
    """One file."""

    name: str
    """Of the file, without its end."""
    instruction: str
    """As it is stored."""
    lengths: Sequence[int]
    """Rows of each demonstration."""
    environment: str = "Libero_Kitchen_Tabletop_Manipulation"
    """Of env_args."""


TASKS = (
    Task("KITCHEN_SCENE1_open_the_drawer_demo", "open the top drawer", (6, 5)),
    Task("KITCHEN_SCENE1_put_the_bowl_down_demo", '"put the black bowl down"', (4, 5, 4)),
    Task("LIVING_ROOM_SCENE2_pick_it_up_demo", "pick up the ketchup", (3,) * 11, "Libero_Living"),
)
EPISODES = [
    (task, demo, rows) for task in TASKS for demo, rows in enumerate(task.lengths)
]  # in the order in which they are read


def libero(folder: Path, change: Callable[[Any, Task], None] | None = None) -> Path:
    """A file for each of TASKS. change: is given each opened file and its task."""
    folder.mkdir(parents=True)
    first = 0
    for task in TASKS:
        with h5py.File(folder / f"{task.name}.hdf5", "w") as file:
            write_task(file, task, first)
            if change:
                change(file, task)
        first += len(task.lengths)
    return folder


def write_task(file: Any, task: Task, first: int) -> None:
    """Write the demonstrations of a task; `first` is the number that those of the first one have
    in their numbers and images."""
    data = file.create_group("data")
    problem = {"problem_name": task.environment.lower(), "language_instruction": task.instruction}
    settings = {"robots": ["Panda"], "controller_configs": {"type": "OSC_POSE"}, "control_freq": 20}
    environment = {"type": 1, "env_name": task.environment, "bddl_file": f"libero/{task.name}.bddl"}
    data.attrs.update(
        {
            "env_name": task.environment,
            "problem_info": json.dumps(problem),
            "macros_image_convention": "opengl",
            "tag": "libero-v1",
            "bddl_file_name": f"libero/{task.name}.bddl",
            "bddl_file_content": "(define (problem x))",
            "env_args": json.dumps(environment | {"env_kwargs": settings}),
            "num_demos": len(task.lengths),
            "total": sum(task.lengths),
        }
    )
    for demo, rows in enumerate(task.lengths):
        write_demo(data.create_group(f"demo_{demo}"), first + demo, rows)


def write_demo(group: Any, number: int, rows: int) -> None:
    group.attrs["num_samples"], group.attrs["init_state"] = rows, np.zeros(10)
    pose = numbers(number, rows, 6, 7).astype(np.float64)
    observed = {
        "joint_states": numbers(number, rows, 7).astype(np.float64),
        "gripper_states": numbers(number, rows, 2, 13).astype(np.float64),
        "ee_states": pose,
        "ee_pos": pose[:, :3],
        "ee_ori": pose[:, 3:],
    }
    for name, values in observed.items():
        group[f"obs/{name}"] = values
    for camera, name in enumerate(CAMERAS):
        group[f"obs/{name}"] = images(number, rows, camera)[:, ::-1]
    group["actions"] = actions(number, rows).astype(np.float64)
    group["states"], group["robot_states"] = np.zeros((rows, 10)), np.zeros((rows, 9))
    group["rewards"] = group["dones"] = (np.arange(rows) == rows - 1).astype(np.uint8)


def actions(number: int, rows: int) -> np.ndarray:
    """float32 (rows, 7); the gripper's are -1 and 1."""
    values = small_numbers(number, rows, 7)
    values[:, 6] = np.arange(rows) % 2 * 2 - 1
    return values
