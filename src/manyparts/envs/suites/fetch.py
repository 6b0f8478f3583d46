"""Fetch: an arm reaches, pushes, slides and lifts, in gymnasium-robotics' simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from manyparts.core.spec import ActionContract
from manyparts.envs.cameras import FreeCamera
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import ExpertStep, GymTask

STEPS_PER_SECOND = 25.0
METRES_PER_ACTION = 0.05  # what an action of 1 asks for
ACTION = ActionContract(
    representation="delta_position",
    frame="world",
    names=("x", "y", "z", "gripper"),
    low=(-1.0,) * 4,
    high=(1.0,) * 4,
    control_rate_hz=STEPS_PER_SECOND,
    gripper="positive opens",
)
CAMERA = FreeCamera(position=(2.2, 0.1, 1.1), look_at=(1.25, 0.75, 0.45), fovy=45.0)


def reach_expert(env: gymnasium.Env) -> ExpertStep:
    """The expert of "reach": straight to the goal. It keeps nothing of the environment."""

    def act(observation: Any, info: Mapping[str, Any], last: np.ndarray | None) -> np.ndarray:
        missing = observation["desired_goal"] - observation["achieved_goal"]
        return np.append(missing / METRES_PER_ACTION, 0.0)

    return act


def _task(
    name: str, instruction: str, paraphrases: tuple[str, ...], held_out: tuple[str, ...]
) -> GymTask:
    return GymTask(
        id=f"Fetch{name}-v4",
        package="gymnasium_robotics",
        instruction=instruction,
        paraphrases=paraphrases,
        held_out=held_out,
        cameras={"front": CAMERA},
        state=("observation",),
        goal="desired_goal",
        success="info:is_success",
        action=ACTION,
        expert=reach_expert if name == "Reach" else None,
        embodiment="fetch-reach" if name == "Reach" else "fetch-object",
    )


TASKS = {
    "reach": _task(
        "Reach",
        "move the gripper to the red mark",
        ("reach for the mark", "bring the hand to the red ball", "go to the target"),
        ("touch the red dot", "steer the gripper to the goal"),
    ),
    "push": _task(
        "Push",
        "push the block to the red mark",
        ("shove the block to the target", "slide the box onto the mark", "push it to the goal"),
        ("move the block to the red dot", "bring the box to its target"),
    ),
    "slide": _task(
        "Slide",
        "hit the puck so that it slides to the red mark",
        ("slide the puck to the target", "shoot the puck at the mark", "hit it to the goal"),
        ("let the puck glide to the red dot", "strike the puck onto its target"),
    ),
    "pick-and-place": _task(
        "PickAndPlace",
        "lift the block to the red mark",
        (
            "pick up the block and hold it at the target",
            "grasp the box and bring it to the mark",
            "pick and place the block",
        ),
        ("carry the block to the red dot", "take the box to its goal"),
    ),
}

SUITE = gym_suite(
    "fetch",
    TASKS,
    packages=("gymnasium_robotics", "mujoco", "gymnasium"),
    extra="fetch",
    many_embodiments=True,
)
