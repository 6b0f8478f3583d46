"""Meta-World's scripted experts."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np


def expert(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The scripted expert of a task such as "reach".

    Returns:
        A function from Meta-World's observation (39,), with the goal, to the action, float32 (4,),
        unclipped.
    """
    from metaworld.policies import ENV_POLICY_MAP

    # The scripts ask for larger movements than a step allows and rely on clipping, which warns at
    # every step.
    warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high")
    return ENV_POLICY_MAP[f"{name}-v3"]().get_action
