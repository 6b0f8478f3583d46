"""How large windows are and which prompts they have; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from manyparts.core.arguments import set_by_replace
from manyparts.core.errors import UserError
from manyparts.embodiment.prompt_layout import PromptLayout


@set_by_replace
@dataclass(frozen=True)
class WindowConfig:
    """What a model sees of an episode at once, and which prompts it gets.

    With `goal_image` or `demonstration_frames`, a prompt is one or two of instruction, goal image
    and demonstration, each choice with equal probability, so that an agent learns to take any.
    """

    steps: int = 4
    """Observations per window."""

    chunk: int = 4
    """Actions after each observation; observations are as many frames apart."""

    paraphrases: bool = True
    """Draw instructions from a task's instruction and its training paraphrases, instead of always
    its instruction."""

    goal_image: bool = False
    """Show the last frame of the window's episode in some prompts; if the dataset has a goal camera
    (`Spec.goal_camera`), its image stands for every camera's."""

    demonstration_frames: int = 0
    """Number of frames of another episode of the task to show in some prompts, half of the time
    with their actions; 0: none."""

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("chunk", self.chunk)):
            if value < 1:
                raise UserError(f"window's {name} is {value}; it must be at least 1")
        if self.demonstration_frames < 0:
            raise UserError(
                f"window's demonstration_frames is {self.demonstration_frames}; expected at least 0"
            )

    @property
    def prompt_layout(self) -> PromptLayout:
        """Where the images of prompts lie."""
        return PromptLayout(self.goal_image, self.demonstration_frames, self.chunk)
