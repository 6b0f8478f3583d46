"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from manyparts.training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of one step.

    It rises linearly during the warm-up, then falls along half a cosine to `final_fraction` of the
    highest rate at the last step.

    Args:
        config: the highest rate, the warm-up and the final fraction.
        step: counted from 0.
        steps: of the whole run.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(steps - 1 - config.warmup_steps, 1)
    cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return config.learning_rate * (config.final_fraction + (1 - config.final_fraction) * cosine)
