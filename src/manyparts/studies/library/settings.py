"""The settings in which studies measure an agent: unseen goals, and tasks held out, told only or
shown a few times."""

from __future__ import annotations

from manyparts.methods.dualmind import tuning
from manyparts.studies.engine.stages import Collect, Train
from manyparts.training.config import TrainConfig

UNSEEN, ZERO_SHOT = "unseen goals", "held-out tasks, zero-shot"
ZERO_SHOT_BODIES = "unseen bodies, zero-shot"


def few_shot(shots: int) -> str:
    """The name of a setting."""
    return f"held-out tasks, {demonstrations(shots)}"


def few_shot_embodiments(episodes: int) -> str:
    """The name of a setting."""
    return f"unseen bodies, {episodes} episode{'s' if episodes > 1 else ''}"


def demonstrations(count: int) -> str:
    """So many of them, in words."""
    return f"{count} demonstration{'s' if count > 1 else ''}"


def tuned(run: Train, data: Collect, recipe: TrainConfig, *, steps: int) -> Train:
    """The run tuned on a few demonstrations of one task; see `methods.dualmind.tuning`."""
    return Train(tuning(run.config, recipe, steps=steps), data, start_from=run)
