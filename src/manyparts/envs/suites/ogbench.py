"""OGBench: an arm that moves cubes, opens drawers and presses buttons towards a goal state."""

from __future__ import annotations

from typing import Any

import gymnasium

from manyparts.core.spec import ActionContract
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import GymTask

STEPS_PER_SECOND = 20.0
ACTION = ActionContract(
    representation="delta_position",
    frame="world",
    # Of 5 cm, 0.3 rad and the whole gripper.
    names=("x", "y", "z", "yaw", "gripper"),
    low=(-1.0,) * 5,
    high=(1.0,) * 5,
    control_rate_hz=STEPS_PER_SECOND,
    gripper="positive closes",
)


class Reproducible(gymnasium.Wrapper):
    """An environment that gives a seed the same goal again.

    OGBench makes a new action space whenever it is asked for one, and draws the steps that lead to
    a goal from it, which nobody can seed. Here it has one space.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        simulation, self._space = env.unwrapped, env.action_space
        kind = type(simulation)
        simulation.__class__ = type(kind.__name__, (kind,), {"action_space": self._space})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._space.seed(seed)
        return self.env.reset(seed=seed, options=options)


def _task(
    id_: str, instruction: str, paraphrases: tuple[str, ...], held_out: tuple[str, ...]
) -> GymTask:
    return GymTask(
        id=f"{id_}-v0",
        package="ogbench",
        wrap=Reproducible,
        instruction=instruction,
        paraphrases=paraphrases,
        held_out=held_out,
        cameras={"front": "mujoco:front"},
        state=("info:proprio/*",),
        full_state=("obs:",),
        goal="info:goal",
        success="info:success",
        rate_hz=STEPS_PER_SECOND,
        action=ACTION,
        # It draws which goal it is from numpy's global generator.
        seeding="numpy",
        embodiment=f"ogbench-{id_}",
    )


TASKS = {
    "cube-single": _task(
        "cube-single",
        "move the cube to its goal",
        ("bring the cube where it belongs", "put the cube at its target", "place the cube"),
        ("carry the cube to the goal", "set the cube down at its mark"),
    ),
    "cube-double": _task(
        "cube-double",
        "move both cubes to their goals",
        (
            "bring the two cubes where they belong",
            "put both cubes at their targets",
            "place the two cubes",
        ),
        ("carry the cubes to their goals", "set both cubes down at their marks"),
    ),
    "scene": _task(
        "scene",
        "bring the cube, the drawer, the window and the buttons to the goal",
        (
            "arrange the scene as the goal shows",
            "set everything as it should be",
            "move all things to their goals",
        ),
        ("make the scene look like its goal", "put the whole scene in order"),
    ),
    "puzzle-3x3": _task(
        "puzzle-3x3",
        "press the buttons until all lights are as in the goal",
        ("solve the lights", "switch the lights to the goal", "press buttons to match the goal"),
        ("make the lights match the goal", "solve the button puzzle"),
    ),
}

SUITE = gym_suite(
    "ogbench",
    TASKS,
    packages=("ogbench", "dm_control", "mujoco", "gymnasium"),
    extra="ogbench",
    many_embodiments=True,
)
