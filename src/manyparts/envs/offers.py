"""What an environment may offer to people who watch it, besides what rollouts call."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Pushable(Protocol):
    """An environment in which something can be pushed. A pushed episode is no longer a function of
    its seed and actions."""

    def push(self, at: tuple[float, float], towards: tuple[float, float]) -> str:
        """Push what is at a point of the image of `render`.

        Args:
            at: The point, from the left and from the top, each from 0 to 1.
            towards: How hard, to the right and up, each from -1 to 1.

        Returns:
            What was pushed, in words; empty if nothing is there.
        """
        ...


@runtime_checkable
class Locating(Protocol):
    """An environment that knows where states are in the image of `render`."""

    def locate(self, states: np.ndarray) -> np.ndarray:
        """Return where the robot is in states.

        Args:
            states: (n, s), in the suite's units.

        Returns:
            (n, 2), from the left and from the top, from 0 to 1 within the image.
        """
        ...
