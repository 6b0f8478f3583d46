"""Meta-World: 50 manipulation tasks of a simulated Sawyer arm, with goals by seed and a fast
renderer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.extras import install_command, load_package
from manyparts.core.host.renderer import choose_backend
from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Split, Suite
from manyparts.envs.cameras import CameraImages, FreeCamera
from manyparts.envs.experts.metaworld import expert
from manyparts.envs.goals import episode_generator, split_of
from manyparts.envs.pushing import push, release
from manyparts.envs.quaternions import with_fast_quaternions
from manyparts.envs.rendering import load_mujoco
from manyparts.envs.suites.metaworld_instructions import INSTRUCTIONS
from manyparts.envs.suites.metaworld_splits import SPLITS, TASKS

__all__ = [
    "CAMERAS",
    "INSTRUCTIONS",
    "SPLITS",
    "SUITE",
    "TASKS",
    "MetaWorld",
    "make",
    "renderer",
]

HORIZON = 500
SUBSTEPS = 5

FREE_CAMERAS: Mapping[str, FreeCamera] = {
    "workspace": FreeCamera(position=(0.6, 1.5, 0.6), look_at=(0.0, 0.7, 0.13), fovy=38),
    "workspace_side": FreeCamera(position=(0.85, 0.45, 0.65), look_at=(0.0, 0.68, 0.12), fovy=42),
    "workspace_front": FreeCamera(position=(0.0, 1.75, 0.5), look_at=(0.0, 0.65, 0.12), fovy=38),
    "workspace_low": FreeCamera(position=(0.5, -0.1, 0.5), look_at=(0.0, 0.7, 0.13), fovy=42),
}
MODEL_CAMERAS = (
    "topview",
    "corner",
    "corner2",
    "corner3",
    "corner4",
    "behindGripper",
    "gripperPOV",
)
CAMERAS = (*FREE_CAMERAS, *MODEL_CAMERAS)
DEFAULT_CAMERA = "workspace"

ACTION = ActionContract(
    representation="delta_position",
    frame="world",
    names=("x", "y", "z", "gripper"),
    low=(-1.0,) * 4,
    high=(1.0,) * 4,
    control_rate_hz=80.0,
    gripper="positive closes",
)
PROPRIOCEPTION = ("hand_x", "hand_y", "hand_z", "gripper_opening")
_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
OBJECTS = (*(f"object1_{part}" for part in _POSE), *(f"object2_{part}" for part in _POSE))
FULL = (
    *PROPRIOCEPTION,
    *OBJECTS,
    *(f"previous_{name}" for name in (*PROPRIOCEPTION, *OBJECTS)),
    *("goal_x", "goal_y", "goal_z"),
)

# Coordinates of the reset vector that vary less than this are noise, not goals.
NARROW_METRES = 0.02
# The vector's last three numbers are the goal, except in these tasks: their goal is above the
# object, and the last three are unused.
GOAL_IS_THE_OBJECT = ("disassemble",)
DRAWS = 10_000


def make(task: str, config: EnvConfig, split: Split) -> MetaWorld:
    """The environment of a task of this suite.

    Args:
        task: "reach" or another of `TASKS`.
        config: what it shows, and how long its episodes are.
        split: the split that goals are drawn from.

    Raises:
        UserError: the config names an unknown camera; or the suite's simulator or a renderer
            is missing.
    """
    return MetaWorld(task, config, split)


def renderer() -> str:
    """The name of what renders this suite."""
    return choose_backend()


class MetaWorld(Environment):
    """One task, equal step by step to Meta-World's own environment with the same goal.

    State: hand position in metres and gripper opening in [0, 1]; with "full" Meta-World's
    observation of 39 numbers.
    """

    def __init__(self, name: str, config: EnvConfig, split: Split) -> None:
        spec = Spec(
            embodiment="sawyer",
            cameras=config.camera_sizes("metaworld", CAMERAS, (DEFAULT_CAMERA,)),
            state_names=FULL if config.state == "full" else PROPRIOCEPTION,
            action=ACTION,
        )
        super().__init__(
            f"metaworld/{name}", spec, split=split, max_steps=config.max_steps or HORIZON
        )
        self.config = config
        self._mujoco = load_mujoco()
        self._simulator = _simulator(name)
        if config.goal == "hidden":
            _hide_goal_markers(self._simulator.model)
        self._pristine = _Pristine(self._simulator)
        self._space = self._simulator._random_reset_space
        self._vector = self._space.low
        self._goal_axes = goal_axes(name, self._space.low, self._space.high)
        self._context: np.ndarray | None = None
        if config.context is not None:
            self._draw(episode_generator(self.task, "evaluation", config.context), "evaluation")
            self._context = self.goal.copy()
        self._expert = expert(name)
        self._observation = np.zeros(len(FULL))
        self._camera_images = CameraImages(self._simulator.model, config, FREE_CAMERAS)

    @property
    def goal(self) -> np.ndarray:
        """The coordinates that decide the split of this episode's goal, in metres."""
        return self._vector[self._goal_axes]

    def observe(self) -> Observation:
        images = {
            name: self._image(name, size[0]) for name, size in self.embodiment_spec.cameras.items()
        }
        return {"images": images, "state": self._state()}

    def expert_action(self) -> np.ndarray:
        action = self._expert(self._observation)
        return np.clip(action, ACTION.low, ACTION.high).astype(np.float32)

    def render(self) -> np.ndarray:
        return self._image(DEFAULT_CAMERA, 256)

    def locate(self, states: np.ndarray) -> np.ndarray:
        """See `envs.offers.Locating`: where the hand is."""
        return FREE_CAMERAS[DEFAULT_CAMERA].locate(states[:, :3])

    def push(self, at: tuple[float, float], towards: tuple[float, float]) -> str:
        """See `envs.offers.Pushable`."""
        model, data = self._simulator.model, self._simulator.data
        seconds = 1 / ACTION.control_rate_hz
        return push(model, data, self._camera_images, DEFAULT_CAMERA, at, towards, seconds)

    def close(self) -> None:
        self._camera_images.close()

    def _state(self) -> np.ndarray:
        state = self._observation[: len(self.embodiment_spec.state_names)].astype(np.float32)
        if self.config.state == "full" and self.config.goal == "hidden":
            state[-3:] = 0
        return state

    def _begin(self, seed: int) -> None:
        """Do what Meta-World's `reset` does.

        It runs `reset_model` twice, so that what the first one moved settles.
        """
        from gymnasium.envs.mujoco import MujocoEnv

        simulator = self._simulator
        self._pristine.restore(simulator)
        generator = episode_generator(self.task, self.split, seed)
        # Meta-World asks this method for a goal. The first call draws it, the second repeats it.
        simulator._get_state_rand_vec = lambda: self._draw(generator, self.split)
        simulator.reset_model()
        simulator._get_state_rand_vec = lambda: self._vector
        observation, _ = MujocoEnv.reset(simulator)
        observation[18:36] = observation[:18]
        simulator._prev_obs = observation[:18].copy()
        self._observation = observation
        _refresh_poses(simulator)

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        """Do what Meta-World's `step` does, without what has no effect on its results."""
        mujoco, simulator = self._mujoco, self._simulator
        model, data = simulator.model, simulator.data
        simulator.set_xyz_action(action[:3])
        data.ctrl[:] = (action[3], -action[3])
        mujoco.mj_step(model, data, nstep=SUBSTEPS)
        release(data)
        mujoco.mj_forward(model, data)
        space = simulator.sawyer_observation_space
        self._observation = np.clip(simulator._get_obs(), space.low, space.high)
        reward, info = simulator.evaluate_state(self._observation, action)
        return float(reward), bool(info["success"])

    def _draw(self, generator: np.random.Generator, split: Split) -> np.ndarray:
        """A reset vector with the context's goal, if there is one, or else a goal of the split."""
        for _ in range(DRAWS):
            vector = generator.uniform(self._space.low, self._space.high)
            if self._context is not None:
                vector[self._goal_axes] = self._context
            if self._context is not None or split_of(self.task, vector[self._goal_axes]) == split:
                self._vector = vector
                return vector
        raise RuntimeError(f"{DRAWS} draws gave no goal of {self.task} for split {split}")

    def _image(self, name: str, size: int) -> np.ndarray:
        return self._camera_images.image(self._simulator.data, name, size)


class _Pristine:
    """A simulator's initial condition, restored so that no episode depends on an earlier one."""

    def __init__(self, simulator: Any) -> None:
        self._body_pos = simulator.model.body_pos.copy()
        self._site_pos = simulator.model.site_pos.copy()
        self._attributes = _copied(vars(simulator))

    def restore(self, simulator: Any) -> None:
        mujoco = load_mujoco()
        simulator.model.body_pos[:] = self._body_pos
        simulator.model.site_pos[:] = self._site_pos
        mujoco.mj_resetData(simulator.model, simulator.data)
        mujoco.mj_forward(simulator.model, simulator.data)
        vars(simulator).clear()
        vars(simulator).update(_copied(self._attributes))


def _copied(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes, with arrays copied that own their data.

    Views into the simulator's memory stay views, as in Meta-World.
    """
    return {
        key: value.copy() if isinstance(value, np.ndarray) and value.flags.owndata else value
        for key, value in attributes.items()
    }


def _simulator(name: str) -> Any:
    tasks = load_package(
        "metaworld.env_dict", "this suite", install_command("metaworld")
    ).ALL_V3_ENVIRONMENTS
    simulator = tasks[f"{name}-v3"]()
    simulator._set_task_called = True
    simulator._partially_observable = False
    simulator.touching_object = lambda object_geom_id: _holds(simulator.data, object_geom_id)
    with_fast_quaternions(simulator, "_get_quat_objects")
    del simulator.sawyer_observation_space  # cached, and without the goal until here
    return simulator


def _holds(data: Any, geom: int) -> bool:
    """Whether both pads of the gripper press on a geom."""
    # Meta-World's own function loops over all contacts in Python, twice, which takes a quarter of a
    # millisecond per step.
    contacts = data.contact
    of_geom = (contacts.geom1 == geom) | (contacts.geom2 == geom)
    if not of_geom.any():
        return False
    for name in ("leftpad_geom", "rightpad_geom"):
        pad = data.geom(name).id
        rows = contacts.efc_address[of_geom & ((contacts.geom1 == pad) | (contacts.geom2 == pad))]
        if sum(data.efc_force[rows]) <= 0:
            return False
    return True


def goal_axes(name: str, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Indices of the reset vector that make up a goal.

    These are the goal's coordinates that vary; if none does, the object's.

    Args:
        name: the task without the suite's name.
        low: lower bounds of the reset vector, (3,) or (6,).
        high: its upper bounds.
    """
    varies = np.flatnonzero(high - low >= NARROW_METRES)
    goal_first = 3 if len(low) == 6 and name not in GOAL_IS_THE_OBJECT else 0
    goal = varies[(varies >= goal_first) & (varies < goal_first + 3)]
    return goal if len(goal) else varies


def _hide_goal_markers(model: Any) -> None:
    for index in range(model.nsite):
        if "goal" in model.site(index).name.lower() or model.site(index).name == "pegTop":
            model.site_rgba[index, 3] = 0


def _refresh_poses(simulator: Any) -> None:
    """Compute the poses of what reset moved last, which the first image shows.

    A step computes them again, so dynamics do not change.
    """
    mujoco = load_mujoco()
    mujoco.mj_kinematics(simulator.model, simulator.data)
    mujoco.mj_comPos(simulator.model, simulator.data)
    mujoco.mj_camlight(simulator.model, simulator.data)


SUITE = Suite(
    make=make,
    instructions=INSTRUCTIONS,
    tasks=TASKS,
    renderer=renderer,
    splits=SPLITS,
    packages=("metaworld", "mujoco", "gymnasium"),
    extra="metaworld",
    steps_after_success=20,
)
