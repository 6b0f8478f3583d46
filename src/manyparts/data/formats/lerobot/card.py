"""The README.md of a LeRobotDataset that manyparts writes."""

from __future__ import annotations

from collections.abc import Sequence

from manyparts.core.columns import ACTION
from manyparts.core.naming import NAME
from manyparts.core.spec import TaskEntry

_CARD = """---
license: apache-2.0
task_categories:
- robotics
tags:
- LeRobot
- manyparts
configs:
- config_name: default
  data_files: data/*/*.parquet
---

# {embodiment} demonstrations

{counts} at {fps:g} Hz, in the LeRobotDataset v3.0 layout; \
written by manyparts.
{actions}

| task | instruction |
|---|---|
{tasks}
"""
_WITH_EXPERT = f"""`{ACTION}` is what was executed; \
`{{expert}}` is what the expert wanted before noise was added.
To imitate the expert with another program, write a copy that has the expert's actions \
as `{ACTION}`:
`{NAME} data convert SET COPY --actions expert`."""
_WITHOUT_EXPERT = f"`{ACTION}` is the one action of each row; there is no other."


def dataset_card(
    embodiment: str,
    tasks: Sequence[TaskEntry],
    *,
    episodes: int,
    frames: int,
    fps: float,
    expert: str | None,
) -> str:
    """The text of the card.

    Args:
        embodiment: the robot's name.
        tasks: all tasks.
        episodes: number of episodes.
        frames: number of frames.
        fps: frames per second.
        expert: the column of the expert's actions, if there is one.
    """
    return _CARD.format(
        embodiment=embodiment,
        counts=counts(episodes, frames),
        fps=fps,
        actions=_WITHOUT_EXPERT if expert is None else _WITH_EXPERT.format(expert=expert),
        tasks="\n".join(f"| {task.name} | {task.instruction} |" for task in tasks),
    )


def counts(episodes: int, frames: int) -> str:
    """How a card says how much there is."""
    return f"{episodes} episodes, {frames} frames"
