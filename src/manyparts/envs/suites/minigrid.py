"""MiniGrid and BabyAI: a grid of rooms, in which each BabyAI episode says what is to be done."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from manyparts.core.spec import ActionContract
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import ExpertStep, GymTask

# Nominal, because nothing here depends on time.
STEPS_PER_SECOND = 10.0
ACTION = ActionContract.discrete(
    ("turn_left", "turn_right", "forward", "pick_up", "drop", "toggle", "done"),
    frame="agent",
    control_rate_hz=STEPS_PER_SECOND,
)


def bot(env: gymnasium.Env) -> ExpertStep:
    """BabyAI's bot, which sees what the agent has seen so far."""
    planner = importlib.import_module("minigrid.utils.baby_ai_bot").BabyAIBot(env)
    simulation: Any = env.unwrapped

    def act(observation: Any, info: Mapping[str, Any], last: np.ndarray | None) -> np.ndarray:
        taken = None if last is None else simulation.actions(int(last[0]))
        return np.array([int(planner.replan(taken))], np.float32)

    return act


def _mission(name: str, max_steps: int) -> GymTask:
    """A level of BabyAI."""
    return GymTask(
        id=f"BabyAI-{name}-v0",
        package="minigrid",
        kwargs={"max_steps": max_steps},
        instruction="obs:mission",
        cameras={"grid": "render"},
        state=("image", "direction"),
        success="reward>0",
        max_steps=max_steps,
        rate_hz=STEPS_PER_SECOND,
        action=ACTION,
        expert=bot,
        embodiment="minigrid",
    )


def _level(name: str, max_steps: int, instruction: str, *others: str) -> GymTask:
    """A level of MiniGrid, which always has the same mission."""
    return GymTask(
        id=f"MiniGrid-{name}-v0",
        package="minigrid",
        kwargs={"max_steps": max_steps},
        instruction=instruction,
        paraphrases=others[:3],
        held_out=others[3:],
        cameras={"grid": "render"},
        state=("image", "direction"),
        success="reward>0",
        max_steps=max_steps,
        rate_hz=STEPS_PER_SECOND,
        action=ACTION,
        embodiment="minigrid",
    )


TASKS = {
    "empty": _level(
        "Empty-Random-6x6",
        144,
        "get to the green goal square",
        "go to the green square",
        "walk to the goal",
        "reach the green field",
        "move to the green tile",
        "find the goal square",
    ),
    "door-key": _level(
        "DoorKey-6x6",
        256,
        "use the key to open the door and then get to the goal",
        "pick up the key, open the door and go to the green square",
        "unlock the door and reach the goal",
        "take the key through the door to the goal",
        "open the door with the key and walk to the green tile",
        "get the key, then the door, then the goal",
    ),
    "go-to-red-ball": _mission("GoToRedBallGrey", 64),
    "go-to-local": _mission("GoToLocal", 64),
    "pick-up": _mission("PickupLoc", 64),
    "put-next": _mission("PutNextLocal", 128),
}

SUITE = gym_suite(
    "minigrid",
    TASKS,
    packages=("minigrid", "gymnasium"),
    extra="minigrid",
    renderer=lambda: "minigrid",
)
