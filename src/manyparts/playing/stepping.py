"""A step of an environment that a person plays with."""

from __future__ import annotations

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.envs.base import Environment


def advanced(
    env: Environment, action: np.ndarray, where: str
) -> tuple[float, bool, bool, bool | None]:
    """Take a step.

    Args:
        env: Within an episode.
        action: In its contract's units.
        where: Which step of which episode, for the error.

    Returns:
        Its reward, whether the episode ended for good, whether it was cut, and whether the task is
        solved; None where nobody knows.

    Raises:
        UserError: Whatever a simulator raises, as one line.
    """
    try:
        reward, terminated, truncated, info = env.advance(action)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{env.task} failed at {where}: {in_a_line(error)}") from error
    success = info["success"]
    return (
        float(reward),
        bool(terminated),
        bool(truncated),
        None if success is None else bool(success),
    )
