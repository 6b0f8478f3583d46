"""Settings in which studies measure an agent: unseen goals, and held-out tasks or embodiments.

Held-out tasks are done by instruction alone (zero-shot) or after a few demonstrations (few-shot).
"""

from __future__ import annotations

from manyparts.core.printing import counted
from manyparts.methods.dualmind import tuning
from manyparts.studies.engine.stages import Collect, Train
from manyparts.training.config import TrainConfig

UNSEEN = "unseen goals"
ZERO_SHOT = "held-out tasks, zero-shot"
ZERO_SHOT_EMBODIMENTS = "unseen embodiments, zero-shot"


def few_shot(shots: int) -> str:
    """Return the name of the setting after so many demonstrations of each held-out task."""
    return f"held-out tasks, {demonstrations(shots)}"


def few_shot_embodiments(episodes: int) -> str:
    """Return the name of the setting after so many episodes of each unseen embodiment."""
    return f"unseen embodiments, {counted(episodes, 'episode')}"


def demonstrations(count: int) -> str:
    """Return a number of demonstrations in words."""
    return counted(count, "demonstration")


def tuned(run: Train, data: Collect, recipe: TrainConfig, *, steps: int) -> Train:
    """Return the run tuned on a few demonstrations of a task; see `methods.dualmind.tuning`.

    Args:
        run: The run that trained the agent.
        data: The demonstrations.
        recipe: The phase II that gives the learning rate and the augmentation.
        steps: Optimiser steps of tuning.
    """
    return Train(tuning(run.config, recipe, steps=steps), data, start_from=run)
