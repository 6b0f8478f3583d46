"""Panda: an arm reaches, pushes, slides, lifts and stacks, in panda-gym's simulation.

PandaFlip-v3 is left out: version 3.0.7 lacks the texture of its cube, and cannot make it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from manyparts.core.spec import ActionContract
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import ExpertStep, GymTask

STEPS_PER_SECOND = 25.0
METRES_PER_ACTION = 0.05  # what an action of 1 asks for
_RENDERED = 128  # pixels that panda-gym draws per side


def _action(*names: str) -> ActionContract:
    return ActionContract(
        representation="delta_position",
        frame="world",
        names=names,
        low=(-1.0,) * len(names),
        high=(1.0,) * len(names),
        control_rate_hz=STEPS_PER_SECOND,
        gripper="positive opens" if "gripper" in names else None,
    )


HAND, HAND_AND_GRIPPER = _action("x", "y", "z"), _action("x", "y", "z", "gripper")


class FromOneState(gymnasium.Wrapper):
    """An environment of which every episode begins from the same state of the simulator.

    Bullet keeps contacts of the episode before, so that equal actions led elsewhere. The state is
    saved after a step, since what is in contact is only known then.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        simulation: Any = env.unwrapped
        self._client = simulation.sim.physics_client
        env.reset(seed=0)
        space = env.action_space
        assert isinstance(space, gymnasium.spaces.Box), space
        env.step(np.zeros(space.shape, space.dtype))
        self._state = self._client.saveState()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._client.restoreState(self._state)
        return self.env.reset(seed=seed, options=options)


def reach_expert(env: gymnasium.Env) -> ExpertStep:
    """The expert of "reach": straight to the goal. It keeps nothing of the environment."""

    def act(observation: Any, info: Mapping[str, Any], last: np.ndarray | None) -> np.ndarray:
        missing = observation["desired_goal"] - observation["achieved_goal"]
        return missing / METRES_PER_ACTION

    return act


def _task(
    name: str, instruction: str, paraphrases: tuple[str, ...], held_out: tuple[str, ...]
) -> GymTask:
    holds = name in ("PickAndPlace", "Stack")
    return GymTask(
        id=f"Panda{name}-v3",
        package="panda_gym",
        kwargs={"render_width": _RENDERED, "render_height": _RENDERED},
        wrap=FromOneState,
        instruction=instruction,
        paraphrases=paraphrases,
        held_out=held_out,
        cameras={"front": "render"},
        state=("observation",),
        goal="desired_goal",
        success="info:is_success",
        rate_hz=STEPS_PER_SECOND,
        action=HAND_AND_GRIPPER if holds else HAND,
        expert=reach_expert if name == "Reach" else None,
        embodiment=f"panda-{name.lower()}",
    )


TASKS = {
    "reach": _task(
        "Reach",
        "move the gripper to the green ball",
        ("reach for the ball", "bring the hand to the target", "go to the green mark"),
        ("touch the green dot", "steer the gripper to the goal"),
    ),
    "push": _task(
        "Push",
        "push the cube to the green mark",
        ("shove the cube to the target", "slide the cube onto the mark", "push it to the goal"),
        ("move the cube to its goal", "bring the cube to the green square"),
    ),
    "slide": _task(
        "Slide",
        "hit the puck so that it slides to the green mark",
        ("slide the puck to the target", "shoot the puck at the mark", "hit it to the goal"),
        ("let the puck glide to its goal", "strike the puck onto the green disc"),
    ),
    "pick-and-place": _task(
        "PickAndPlace",
        "lift the cube to the green mark",
        (
            "pick up the cube and hold it at the target",
            "grasp the cube and bring it to the mark",
            "pick and place the cube",
        ),
        ("carry the cube to its goal", "take the cube to the green square"),
    ),
    "stack": _task(
        "Stack",
        "stack the two cubes at the green marks",
        (
            "put one cube on the other",
            "build a tower of two at the target",
            "pile up the cubes at the marks",
        ),
        ("set the cubes upon each other", "make a stack at the goal"),
    ),
}

SUITE = gym_suite(
    "panda",
    TASKS,
    packages=("panda_gym", "pybullet", "gymnasium"),
    extra="panda",
    renderer=lambda: "pybullet",
    many_embodiments=True,
)
