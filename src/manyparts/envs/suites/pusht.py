"""Push-T: a round finger pushes a T-shaped block onto its outline, in gym-pusht's simulation."""

from __future__ import annotations

from manyparts.core.spec import ActionContract
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import GymTask

STEPS_PER_SECOND = 10.0
ACTION = ActionContract(
    representation="position",
    frame="image",  # 512 by 512, y down
    names=("x", "y"),
    low=(0.0, 0.0),
    high=(512.0, 512.0),
    control_rate_hz=STEPS_PER_SECOND,
)

TASKS = {
    "push-t": GymTask(
        id="gym_pusht/PushT-v0",
        package="gym_pusht",
        kwargs={"obs_type": "pixels_agent_pos"},
        instruction="push the T onto its outline",
        paraphrases=(
            "move the T-shaped block to the green target",
            "slide the grey T until it covers the green one",
            "put the T where its outline is",
        ),
        held_out=("bring the T to its mark", "cover the green shape with the block"),
        cameras={"top": "pixels"},
        state=("agent_pos",),
        full_state=("info:block_pose",),
        success="info:is_success",
        action=ACTION,
        embodiment="pusht",
    )
}

SUITE = gym_suite(
    "pusht",
    TASKS,
    packages=("gym_pusht", "pymunk", "gymnasium"),
    extra="pusht",
    renderer=lambda: "pygame",
)
