"""Kinds of prompt that an evaluated agent gets; light to import."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Literal, get_args

from manyparts.core.errors import UserError, closest
from manyparts.core.naming import prompts_of_today
from manyparts.core.printing import say
from manyparts.core.records import Prompt

if TYPE_CHECKING:
    from manyparts.data.sampling.config import WindowConfig

Prompts = Literal[
    "instruction",
    "held_out",
    "goal_image",
    "demonstration",
    "watched",
    "instruction+goal_image",
    "instruction+demonstration",
    "goal_image+demonstration",
    "none",
    "other_goal_image",
    "half_goal_image",
]
"""Kinds of prompt.

instruction: the task's own. held_out: a paraphrase that training never used. goal_image: the image
of the goal in this very episode where the suite has one, else the scene as the expert leaves it.
demonstration: the expert in another scene, with its actions; watched: without them. none: nothing.
other_goal_image: the goal of another scene of the task. half_goal_image: the goal image with half
of its 8 by 8 patches grey.
"""

OTHER_SCENES = ("other_goal_image", "demonstration", "watched")
"""Parts of kinds that show another scene than the episode's."""


def checked_prompts(prompts: str | Prompt) -> str:
    """A kind of prompt, or an instruction, for which a `Prompt` may stand.

    Raises:
        UserError: something else, one word, which is more likely a misspelt kind, or text that is
            near to a kind.
    """
    kinds, text = get_args(Prompts), prompts
    if isinstance(text, str) and text != prompts_of_today(text):
        say(
            f"prompts {text!r} are called {prompts_of_today(text)!r} now; the former name is taken "
            "until 0.3",
            error=True,
        )
        return prompts_of_today(text)
    if isinstance(prompts, Prompt):
        if prompts.goal is not None or prompts.demonstration is not None or not prompts.instruction:
            raise UserError(
                "evaluate takes a prompt of an instruction alone; for images of your own use "
                "rollout()"
            )
        text = prompts.instruction
    if not isinstance(text, str):
        raise UserError(
            f"prompts is {prompts!r}; expected a kind of prompt ({', '.join(kinds)}), or an "
            "instruction"
        )
    compact = text.replace(" ", "")
    is_one_word = re.fullmatch(r"[\w+]*", text, re.ASCII) is not None
    if text not in kinds and (is_one_word or difflib.get_close_matches(compact, kinds)):
        raise UserError(
            f"prompts is {text!r}; {closest(compact, kinds)}; or an instruction of two words or "
            "more, which replaces the task's own"
        )
    return text


def is_instruction(prompts: str) -> bool:
    """Whether this is an instruction itself, rather than a kind of prompt."""
    return prompts not in get_args(Prompts)


def kinds_for(window: WindowConfig) -> list[Prompts]:
    """The kinds of prompt for an agent that was trained on these windows, sound and degraded."""
    absent: tuple[str, ...] = () if window.goal_image else ("goal_image",)
    absent += () if window.demonstration_frames else ("demonstration", "watched")
    return [kind for kind in get_args(Prompts) if not any(name in kind for name in absent)]
