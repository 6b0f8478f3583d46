"""What keeps a robot safe: actions within bounds and without jumps, and what holds it still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.spec import Spec
from manyparts.embodiment.holding import holding_action


@dataclass(frozen=True)
class Limited:
    """Actions that may be sent."""

    actions: np.ndarray
    """float32 (T, a)."""
    changed: bool
    """Whether some were too far from the one before them."""


class Guard:
    """Makes the actions of an agent such that a robot can carry them out.

    Args:
        spec: The robot.
        max_change: How far a number may move from one action to the next, as a fraction of its
            range; None: as far as it likes.

    Raises:
        UserError: The fraction is not above 0, or the actions are choices.
    """

    def __init__(self, spec: Spec, max_change: float | None = None) -> None:
        contract = spec.action
        if max_change is not None and not 0 < max_change <= 1:
            raise UserError(f"--max-change is {max_change:g}; expected more than 0 and at most 1")
        if max_change is not None and contract.choices:
            raise UserError(f"--max-change is for numbers; {spec.embodiment} acts by choices")
        self._spec, self._contract = spec, contract
        self._step = None
        if max_change is not None:
            self._step = 2 * contract.half_range * max_change

    def checked(
        self, actions: np.ndarray, before: np.ndarray | None, state: np.ndarray | None = None
    ) -> Limited:
        """Return actions that are finite, within the contract's bounds, and near each other.

        The first one of an episode is near what holds the robot still, if anybody knows that.

        Args:
            actions: (T, a), an agent's.
            before: The last action that was sent, (a,); None at the start of an episode.
            state: The robot's, (s,); None if it is not known.

        Raises:
            UserError: A number is not finite.
        """
        if not np.isfinite(actions).all():
            number = int(np.argwhere(~np.isfinite(actions))[0, 1])
            name = self._contract.names[number]
            raise UserError(f"the agent's action {name} is not finite; nothing is sent")
        bounded = self._contract.executed(actions)
        if self._step is None:
            return Limited(bounded, changed=False)
        last = self.hold(state, None) if before is None else before
        limited = np.empty_like(bounded)
        for row, action in enumerate(bounded):
            if last is not None:
                action = np.clip(action, last - self._step, last + self._step)
            # The bounds come last: one step too many is less than an action out of bounds.
            limited[row] = last = self._contract.executed(action)
        return Limited(limited, changed=not np.array_equal(limited, bounded))

    def hold(self, state: np.ndarray | None, before: np.ndarray | None) -> np.ndarray | None:
        """Return the action that keeps the robot where it is; see `holding_action`."""
        return holding_action(self._spec, state, before)
