"""ALOHA: two arms hand over a cube, or join a peg and a socket, in gym-aloha's simulation."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from manyparts.core.spec import ActionContract
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import GymTask

STEPS_PER_SECOND = 50.0
_ARM_NUMBERS = 16  # of the model's positions, before those of objects
_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
ACTION = ActionContract(
    representation="joint_position",
    frame="joints",
    names=tuple(f"{side}_{joint}" for side in ("left", "right") for joint in _JOINTS),
    # Radians, the model's limits; of grippers the fraction to which they are open. gym-aloha's own
    # space says -1 to 1 for all, which is not so: it does not clip, and demonstrations go beyond.
    low=(-3.14158, -1.85005, -1.76278, -3.14158, -1.8675, -3.14158, 0.0) * 2,
    high=(3.14158, 1.25664, 1.6057, 3.14158, 2.23402, 3.14158, 1.0) * 2,
    control_rate_hz=STEPS_PER_SECOND,
    gripper="1 opens",
)


class Aloha(gymnasium.Wrapper):
    """gym-aloha without its own images; an episode ends for good where the simulation diverges.

    It draws three images of 480x640 at each step, which takes a second with a software renderer.
    The camera of this suite is drawn by the fast renderer instead, where somebody looks. Targets
    that leap, as random ones do, can make the simulation diverge. The info has the pose of each
    object, metres and a quaternion, which the environment keeps to itself.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        simulation: Any = env.unwrapped
        self._physics = simulation._env.physics
        blank = np.zeros((480, 640, 3), np.uint8)
        self._physics.render = lambda **_: blank
        self._seen: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._seen, info = self.env.reset(seed=seed, options=options)
        return self._seen, self._with_objects(info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        from dm_control.rl.control import PhysicsError

        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except PhysicsError:
            return self._seen, 0.0, True, False, {"is_success": False, "objects": self._objects}
        self._seen = observation
        return observation, reward, terminated, truncated, self._with_objects(info)

    def _with_objects(self, info: dict[str, Any]) -> dict[str, Any]:
        self._objects = self._physics.data.qpos[_ARM_NUMBERS:].copy()
        return {**info, "objects": self._objects}


def _task(name: str, instruction: str, *others: str) -> GymTask:
    return GymTask(
        id=f"gym_aloha/{name}",
        package="gym_aloha",
        kwargs={"obs_type": "pixels_agent_pos"},
        wrap=Aloha,
        instruction=instruction,
        paraphrases=others[:3],
        held_out=others[3:],
        cameras={"top": "mujoco:top"},
        state=("agent_pos",),
        full_state=("info:objects",),
        success="info:is_success",
        action=ACTION,
        embodiment="aloha",
    )


TASKS = {
    "transfer-cube": _task(
        "AlohaTransferCube-v0",
        "pick up the red cube and hand it to the other arm",
        "pass the cube from the right gripper to the left one",
        "take the cube with one arm and give it to the other",
        "hand the red block over",
        "move the cube from hand to hand",
        "let the left arm take the cube from the right arm",
    ),
    "insertion": _task(
        "AlohaInsertion-v0",
        "pick up the peg and the socket and put them together",
        "insert the peg into the socket",
        "join the two parts in the air",
        "push the peg into the socket with both arms",
        "fit the red part into the blue one",
        "plug the peg in",
    ),
}

SUITE = gym_suite(
    "aloha",
    TASKS,
    packages=("gym_aloha", "dm_control", "mujoco", "gymnasium"),
    extra="aloha",
)
