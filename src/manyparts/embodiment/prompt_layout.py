"""Where the images and actions of prompts lie in a batch, in training and for an agent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GOAL = 0
"""The goal's index among a prompt's images."""

DEMONSTRATION = slice(1, None)
"""The indices of a demonstration's images, in their order."""


@dataclass(frozen=True)
class PromptLayout:
    """The images in a prompt: the goal's first, then a demonstration's, each with the chunk of
    actions that follows it."""

    goal_image: bool
    """Whether prompts may show the goal."""

    demonstration_frames: int
    """How many frames of a demonstration they may show; 0: none."""

    chunk: int
    """Actions after each frame."""

    @property
    def count(self) -> int:
        """How many images a prompt has room for; 0 if prompts show none.

        The goal has its place also if prompts only show demonstrations.
        """
        has_images = self.goal_image or self.demonstration_frames
        return 1 + self.demonstration_frames if has_images else 0

    def join(self, goal: np.ndarray, demonstration: np.ndarray) -> np.ndarray:
        """What belongs to the images of b prompts, in their order.

        Args:
            goal: (b, 1, ...), of the goals.
            demonstration: (b, demonstration_frames, ...), of the demonstrations.

        Returns:
            (b, count, ...).
        """
        return np.concatenate([goal, demonstration], axis=1)

    def masks(
        self, goal: np.ndarray, demonstrated: np.ndarray, with_actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which images of b prompts are there, and which of them have actions.

        Args:
            goal: bool (b,), prompts that show the goal.
            demonstrated: bool (b,), prompts that show a demonstration.
            with_actions: bool (b,), prompts in which a demonstration has its actions.

        Returns:
            Two masks, bool (b, count).
        """
        frames = np.ones((1, self.demonstration_frames), bool)
        mask = self.join(goal[:, None], demonstrated[:, None] & frames)
        action_mask = mask & with_actions[:, None]
        action_mask[:, GOAL] = False
        return mask, action_mask
