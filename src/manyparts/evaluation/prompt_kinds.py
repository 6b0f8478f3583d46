"""Ways to tell an evaluated agent its task; light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from manyparts.data.windows import WindowConfig

Prompts = Literal[
    "sentence",
    "held_out",
    "goal_image",
    "demonstration",
    "watched",
    "sentence+goal_image",
    "sentence+demonstration",
    "goal_image+demonstration",
    "none",
    "other_goal_image",
    "half_goal_image",
]
"""sentence, held_out: a task's own, or a paraphrase kept from training. goal_image: the goal's own picture in this
very episode where the suite has one, else the scene as the expert leaves it. demonstration: the expert in another
scene, with its actions; watched: without. none: nothing. other_goal_image: the goal of another scene of the task.
half_goal_image: half of the goal image's 8 by 8 patches grey.
"""


def kinds_for(window: WindowConfig) -> list[Prompts]:
    """The kinds of prompt that an agent takes whose windows in training were these, sound and degraded."""
    absent = () if window.goal_image else ("goal_image",)
    absent += () if window.demonstration_frames else ("demonstration", "watched")
    return [kind for kind in get_args(Prompts) if not any(name in kind for name in absent)]
