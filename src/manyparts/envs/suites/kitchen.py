"""Franka kitchen: an arm with nine joints that opens doors, turns knobs and moves a kettle.

A task is one of seven subtasks, or four of them in a row.

The simulation is that of gymnasium-robotics' `FrankaKitchen-v1` without its noise, action for
action.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command
from manyparts.core.host.renderer import choose_backend
from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Instructions, Split, Suite
from manyparts.envs.cameras import CameraImages, FreeCamera
from manyparts.envs.experts.kitchen import (
    LARGEST_VELOCITY,
    SECONDS_PER_STEP,
    SKILLS,
    KitchenExpert,
    Scene,
)
from manyparts.envs.goals import episode_generator, split_of
from manyparts.envs.rendering import load_mujoco

HORIZON_PER_SUBTASK = 130
SUBSTEPS = 40
JOINTS = 9
# FrankaKitchen-v1's bounds of the joints' targets, which differ from the model's.
LOWEST = np.array([-2.9, -1.8, -2.9, -3.1, -2.9, 0.0, -2.9, 0.0, 0.0])
HIGHEST = np.array([2.9, 1.8, 2.9, 0.0, 2.9, 3.8, 2.9, 0.04, 0.04])
# Start of FrankaKitchen-v1: joints of arm and fingers, knobs and burners, switches and doors, the
# kettle's pose.
START = np.array(
    [
        0.148388023,
        -1.76848573,
        1.84390296,
        -2.4768576,
        0.260252026,
        0.712533105,
        1.59515394,
        0.0479267505,
        0.0371350919,
        -0.00026627985,
        -5.18043486e-05,
        3.1287722e-05,
        -4.51199853e-05,
        -3.90842156e-06,
        -4.22629655e-05,
        6.28065475e-05,
        4.04984708e-05,
        0.000462730939,
        -0.000226906415,
        -0.000465501369,
        -0.00644129196,
        -0.00177048263,
        0.00108009684,
        -0.26939744,
        0.350383255,
        1.61944683,
        1.00618764,
        0.0040639512,
        -0.00662095997,
        -0.000268278933,
    ]
)
# FrankaKitchen-v1 always starts the same, so that one episode could be learned by heart. Here the
# arm's joints and the kettle vary.
ARM_VARIES = 0.04  # radians either way
KETTLE_VARIES = 0.02  # metres either way
KETTLE = slice(23, 25)

# A subtask's coordinates in the simulator's state, and their targets. It is done when the distance
# over all its coordinates is below this.
DONE_WITHIN = 0.3
SUBTASKS: Mapping[str, tuple[slice, tuple[float, ...]]] = {
    "microwave": (slice(22, 23), (-0.75,)),
    "bottom-burner": (slice(11, 13), (-0.88, -0.01)),
    "top-burner": (slice(15, 17), (-0.92, -0.01)),
    "light-switch": (slice(17, 19), (-0.69, -0.05)),
    "slide-cabinet": (slice(19, 20), (0.37,)),
    "hinge-cabinet": (slice(20, 22), (0.0, 1.45)),
    "kettle": (slice(23, 30), (-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06)),
}
COMBINATIONS = tuple("+".join(four) for four in itertools.combinations(SUBTASKS, 4))
HELD_OUT = (
    "microwave+bottom-burner+light-switch+kettle",
    "microwave+light-switch+slide-cabinet+kettle",
    "top-burner+slide-cabinet+hinge-cabinet+kettle",
)
TASKS: tuple[str, ...] = (*SUBTASKS, *COMBINATIONS)
SPLITS: Mapping[str, tuple[str, ...]] = {
    "subtasks": tuple(SUBTASKS),
    "combinations": COMBINATIONS,
    "combinations-train": tuple(name for name in COMBINATIONS if name not in HELD_OUT),
    "combinations-test": HELD_OUT,
}

FREE_CAMERAS: Mapping[str, FreeCamera] = {  # the simulator's own view, for people too
    "kitchen": FreeCamera(position=(-0.816, -1.193, 3.262), look_at=(-0.2, 0.5, 2.0), fovy=45),
}
MODEL_CAMERAS = ("left_cap", "right_cap")
CAMERAS = (*FREE_CAMERAS, *MODEL_CAMERAS)
DEFAULT_CAMERA = "kitchen"

_ARM = tuple(f"joint{number}" for number in range(1, 8))
ACTION = ActionContract(
    representation="joint_velocity",
    frame="joints",
    names=(*_ARM, "finger1", "finger2"),
    low=(-1.0,) * JOINTS,
    high=(1.0,) * JOINTS,
    control_rate_hz=1 / SECONDS_PER_STEP,
    gripper="positive opens",
)
PROPRIOCEPTION = ACTION.names
_THINGS = (
    "knob1_angle",
    "knob1_burner",
    "knob2_angle",
    "knob2_burner",
    "knob3_angle",
    "knob3_burner",
    "knob4_angle",
    "knob4_burner",
    "light_switch",
    "light",
    "slide_cabinet",
    "left_hinge_cabinet",
    "right_hinge_cabinet",
    "microwave",
)
_KETTLE_VELOCITY = ("vx", "vy", "vz", "wx", "wy", "wz")
FULL = (
    *PROPRIOCEPTION,
    *(f"{name}_velocity" for name in PROPRIOCEPTION),
    *_THINGS,
    *(f"kettle_{part}" for part in ("x", "y", "z", "qw", "qx", "qy", "qz")),
    *(f"{name}_velocity" for name in _THINGS),
    *(f"kettle_{part}" for part in _KETTLE_VELOCITY),
)


def make(task: str, config: EnvConfig, split: Split) -> Kitchen:
    """The environment of a subtask, or of four.

    Args:
        task: "kettle" or another of `TASKS`.
        config: what it shows, and how long its episodes are.
        split: the split that the kettle's start is drawn from.

    Raises:
        UserError: the config fixes a goal, or names an unknown camera; or nothing renders here.
    """
    return Kitchen(task, config, split)


def renderer() -> str:
    """The name of what renders this suite."""
    return choose_backend()


class Kitchen(Environment):
    """One to four subtasks in any order, which succeeds when each has been done once.

    Action: velocities of seven joints and two fingers, where 1 is 2 rad/s or m/s; they become
    targets of the joints' controllers. Reward: subtasks done for the first time in this step.
    State: joints of arm and fingers; with "full" FrankaKitchen-v1's observation of 59 numbers. No
    goal is shown: only the task says what to do. `goal` is the kettle's start, which decides an
    episode's split.
    """

    def __init__(self, name: str, config: EnvConfig, split: Split) -> None:
        if config.context is not None:
            raise UserError(
                "kitchen has no goals to fix, only tasks; leave context None and choose a task"
            )
        spec = Spec(
            embodiment="franka-kitchen",
            cameras=config.camera_sizes("kitchen", CAMERAS, (DEFAULT_CAMERA,)),
            state_names=FULL if config.state == "full" else PROPRIOCEPTION,
            action=ACTION,
        )
        self.subtasks = tuple(name.split("+"))
        horizon = config.max_steps or HORIZON_PER_SUBTASK * len(self.subtasks)
        super().__init__(f"kitchen/{name}", spec, split=split, max_steps=horizon)
        self.config = config
        self.model = load_mujoco().MjModel.from_xml_path(str(_model_file()))
        self.data = load_mujoco().MjData(self.model)
        self.goal = START[KETTLE]
        self._done: list[str] = []
        self._expert = KitchenExpert(
            Scene(self.model, self.data), self._skills(), self._done.__contains__
        )
        self._camera_images = CameraImages(self.model, config, FREE_CAMERAS)

    def observe(self) -> Observation:
        images = {
            name: self._image(name, size[0]) for name, size in self.embodiment_spec.cameras.items()
        }
        return {"images": images, "state": self._state()}

    def expert_action(self) -> np.ndarray:
        return np.clip(self._expert.action(), -1, 1).astype(np.float32)

    def render(self) -> np.ndarray:
        return self._image(DEFAULT_CAMERA, 256)

    def metrics(self) -> dict[str, float]:
        """subtasks: the fraction of them that was done."""
        return {"subtasks": len(self._done) / len(self.subtasks)}

    def close(self) -> None:
        self._camera_images.close()

    def _skills(self) -> tuple[str, ...]:
        """The subtasks, in the order in which none hinders the next."""
        return tuple(name for name in SKILLS if name in self.subtasks)

    def _state(self) -> np.ndarray:
        position, velocity = self.data.qpos, self.data.qvel
        parts = [position[:JOINTS], velocity[:JOINTS], position[JOINTS:], velocity[JOINTS:]]
        return np.concatenate(parts)[: len(self.embodiment_spec.state_names)].astype(np.float32)

    def _begin(self, seed: int) -> None:
        mujoco, generator = load_mujoco(), episode_generator(self.task, self.split, seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = START
        self.data.qpos[:7] += generator.uniform(-ARM_VARIES, ARM_VARIES, 7)
        while True:
            self.goal = START[KETTLE] + generator.uniform(-KETTLE_VARIES, KETTLE_VARIES, 2)
            if split_of(self.task, self.goal) == self.split:
                break
        self.data.qpos[KETTLE] = self.goal
        mujoco.mj_forward(self.model, self.data)
        self._done.clear()
        self._expert.begin()

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        """Do FrankaKitchen-v1's step: targets are where the velocities lead in one step."""
        velocity = action.astype(np.float64) * LARGEST_VELOCITY
        self.data.ctrl[:] = np.clip(
            self.data.qpos[:JOINTS] + velocity * SECONDS_PER_STEP, LOWEST, HIGHEST
        )
        load_mujoco().mj_step(self.model, self.data, nstep=SUBSTEPS)
        new = [name for name in self.subtasks if name not in self._done and self._is_done(name)]
        self._done += new
        self._expert.watch()
        return float(len(new)), len(self._done) == len(self.subtasks)

    def _is_done(self, subtask: str) -> bool:
        where, goal = SUBTASKS[subtask]
        return float(np.linalg.norm(self.data.qpos[where] - np.asarray(goal))) < DONE_WITHIN

    def _image(self, name: str, size: int) -> np.ndarray:
        return self._camera_images.image(self.data, name, size)


def _model_file() -> Path:
    package = importlib.util.find_spec("gymnasium_robotics")
    if package is None or package.origin is None:
        raise UserError(f"kitchen needs gymnasium_robotics: {install_command(SUITE.extra)}")
    return (
        Path(package.origin).parent
        / "envs/assets/kitchen_franka/kitchen_assets/kitchen_env_model.xml"
    )


_WORDS: Mapping[str, tuple[str, str, str]] = {
    "microwave": ("open the microwave", "pull the microwave's door open", "get the microwave open"),
    "bottom-burner": (
        "turn on the lower burner",
        "turn the lower knob",
        "switch the lower hotplate on",
    ),
    "top-burner": (
        "turn on the upper burner",
        "turn the upper knob",
        "switch the upper hotplate on",
    ),
    "light-switch": ("turn on the light", "flip the light switch", "switch the lamp on"),
    "slide-cabinet": (
        "slide the cabinet open",
        "push the sliding door aside",
        "open the sliding cupboard",
    ),
    "hinge-cabinet": (
        "open the hinged cabinet",
        "pull the cabinet door open",
        "open the cupboard with hinges",
    ),
    "kettle": (
        "move the kettle to the back burner",
        "put the kettle at the back",
        "shift the kettle to the rear",
    ),
}


def _instructions(task: str) -> Instructions:
    words = [_WORDS[name] for name in task.split("+")]

    def joined(kind: int, link: str) -> str:
        return link.join(each[kind] for each in words)

    return Instructions(
        joined(0, ", "),
        (joined(1, ", "), joined(0, " and ")),
        (joined(2, ", "), joined(2, " and ")),
    )


INSTRUCTIONS: Mapping[str, Instructions] = {task: _instructions(task) for task in TASKS}

SUITE = Suite(
    make=make,
    instructions=INSTRUCTIONS,
    tasks=TASKS,
    renderer=renderer,
    splits=SPLITS,
    packages=("gymnasium_robotics", "mujoco", "gymnasium"),
    extra="kitchen",
    steps_after_success=5,
)
