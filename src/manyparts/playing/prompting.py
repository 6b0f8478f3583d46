"""What an agent can be shown: goal images and demonstrations, of the expert or of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manyparts.agents.base import Agent
from manyparts.agents.viewed import seen_as
from manyparts.core.errors import UserError
from manyparts.core.records import Demonstration, Episode, Prompt
from manyparts.core.spec import Spec
from manyparts.envs.base import Environment
from manyparts.envs.registry import suite_and_name, suite_named
from manyparts.evaluation.episode_prompts import demonstrated, demonstration_of, goal_images
from manyparts.playing.cast import Cast
from manyparts.rollout.loop import Step

Images = dict[str, np.ndarray]
"""Camera to image."""


@dataclass
class Asked:
    """What a person asks for, apart from the task's own instruction."""

    typed: str | None = None
    """An instruction instead of the task's own."""

    goal: dict[str, np.ndarray] | None = None
    """Camera to an image of the goal."""

    goal_of_episode: bool = False
    """Whether that is the goal of the episode itself, so that the next one has another."""

    demonstration: Demonstration | None = None
    """An example of the task."""

    demonstration_name: str = ""
    """What that is called."""

    def prompt(self, said: str) -> Prompt:
        """Return the prompt with an instruction."""
        return Prompt(said, self.goal, self.demonstration)

    def words(self, said: str) -> str:
        """Return the same in words."""
        parts = [said]
        parts += ["goal image"] if self.goal is not None else []
        parts += [self.demonstration_name] if self.demonstration is not None else []
        return " + ".join(parts)


_OTHER_SCENES = 1_000_000  # seeds of demonstrations, which no page counts up to


def has_expert(task: str) -> bool:
    """Return whether a task has an expert.

    Args:
        task: Its name.
    """
    suite, name = suite_and_name(task)
    return name not in suite_named(suite).without_expert


def goal_of(scratch: Environment, seed: int) -> dict[str, np.ndarray]:
    """Return the goal image of an episode: the suite's, or what the expert leaves behind.

    Args:
        scratch: An environment of the task, which is used for it.
        seed: The episode's.

    Raises:
        UserError: The task has neither.
    """
    scratch.begin(seed)
    if scratch.goal_image() is None and not has_expert(scratch.task):
        raise UserError(f"{scratch.task} has neither a goal image nor an expert")
    return goal_images(scratch, seed)


def expert_demonstration(cast: Cast, task: str, seed: int, agent: Agent) -> Demonstration:
    """Return the expert in another scene of the training split.

    Args:
        cast: Of the page.
        task: The task's name.
        seed: Of the episode that is shown to the agent otherwise.
        agent: Who is shown it.

    Raises:
        UserError: The task has no expert.
    """
    if not has_expert(task):
        raise UserError(f"{task} has no expert; choose an episode of --data")
    return demonstrated(
        task, cast.whole_config_of(task), _OTHER_SCENES + seed, cast.window, seen_as(agent)
    )


def recorded_demonstration(cast: Cast, spec: Spec, index: int, agent: Agent) -> Demonstration:
    """Return an episode of the cast's dataset as a demonstration.

    Args:
        cast: Of the page.
        spec: The robot's.
        index: The episode's number.
        agent: Who is shown it.

    Raises:
        UserError: There is no such episode, or it is of another robot.
    """
    dataset = cast.demonstrations
    if dataset is None:
        raise UserError("there are no episodes to choose from: begin with --data DATASET")
    if different := spec.seen_as(dataset.spec).differences(dataset.spec.seen_as(spec)):
        raise UserError(f"{dataset.path} is of another robot than this task: {different[0]}")
    return demonstration_of(_steps(dataset.episode(index)), spec, cast.window, seen_as(agent))


def _steps(episode: Episode) -> list[Step]:
    return [
        Step(
            index=row,
            observation={
                "images": {name: frames[row] for name, frames in episode.images.items()},
                "state": episode.state[row],
            },
            carry=None,
            action=episode.action[row],
            reward=float(episode.reward[row]),
            success=bool(episode.success[row]),
        )
        for row in range(len(episode))
    ]
