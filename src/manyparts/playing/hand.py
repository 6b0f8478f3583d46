"""A person's hand: what keys, a mouse or a gamepad ask for, as an action of the robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from manyparts.core.spec import Spec
from manyparts.embodiment.holding import holding_action, rests_at_zero

_SWEEP_SECONDS = 2.0  # of a key that moves a target from one bound to the other

Style = Literal["push", "move"]
STYLES: tuple[Style, ...] = ("push", "move")


@dataclass(frozen=True)
class Wish:
    """What a person holds down at this moment, or points at."""

    deflection: Mapping[int, float] = field(default_factory=dict)
    """Number of an action's dimension to how far it is pressed, -1 to 1."""

    pointed: Mapping[int, float] = field(default_factory=dict)
    """Number of an action's dimension to a point of its range, -1 (low) to 1 (high)."""

    choice: int | None = None
    """The action that was chosen, of an action that is a choice."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is pressed and nothing is pointed at."""
        pressed = any(self.deflection.values())
        return not pressed and not self.pointed and self.choice is None


class Hand:
    """Turns a person's wishes into actions.

    In the style `push`, a key moves a number away from where it rests, and the number comes back
    when the key is released: for differences, velocities and forces. In the style `move`, a key
    moves a target, which stays where it is: for positions. Grippers keep their last command.

    Args:
        spec: The robot.

    Attributes:
        style: See above; a person may change it.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec, self._contract = spec, spec.action
        low, high = np.asarray(spec.action.low), np.asarray(spec.action.high)
        self._low, self._high = low, high
        symmetric = bool(np.array_equal(low, -high))
        unknown = spec.action.representation == "unknown"
        pushes = rests_at_zero(self._contract) or (unknown and symmetric)
        self.style: Style = "push" if pushes else "move"

    @property
    def waits(self) -> bool:
        """Whether nothing happens until a person acts: of choices, none keeps everything still."""
        return bool(self._contract.choices)

    def action(
        self, wish: Wish, state: np.ndarray | None, before: np.ndarray | None
    ) -> np.ndarray | None:
        """Return the action of a wish, float32 (a,); None to wait for one.

        If nothing is pressed, it keeps the robot where it is.

        Args:
            wish: What is pressed.
            state: The robot's, (s,); None if it has none.
            before: The action before, (a,); None at the start of an episode.
        """
        contract = self._contract
        if contract.choices:
            if wish.choice is None:
                return None
            return contract.executed(np.array([wish.choice], np.float32))
        action = self.rest(state, before).astype(np.float64)
        for number, share in wish.deflection.items():
            action[number] = self._deflected(number, action[number], share)
        for number, point in wish.pointed.items():
            middle, half = self._middle[number], self._half[number]
            action[number] = middle + point * half
        return contract.executed(action)

    def rest(self, state: np.ndarray | None, before: np.ndarray | None) -> np.ndarray:
        """Return the action that keeps the robot where it is; the middle of the range if nobody
        knows it."""
        if self.style == "push" and not rests_at_zero(self._contract):
            held = None
        else:
            held = holding_action(self._spec, state, before if self.style == "push" else None)
            held = before if held is None else held
            if self.style == "move" and before is not None:
                # A target that was set stays, wherever the robot has come to.
                held = before
        return self._middle.astype(np.float32) if held is None else held

    def _deflected(self, number: int, rest: float, share: float) -> float:
        if not share:
            return rest
        name = self._contract.names[number].lower()
        low, high = self._low[number], self._high[number]
        if self.style == "push" or "grip" in name:
            rest = self._middle[number] if "grip" in name else rest
            return rest + share * (high - rest if share > 0 else rest - low)
        seconds = 1 / self._contract.control_rate_hz
        return rest + share * (high - low) * seconds / _SWEEP_SECONDS

    @property
    def _middle(self) -> np.ndarray:
        return (self._low + self._high) / 2

    @property
    def _half(self) -> np.ndarray:
        return (self._high - self._low) / 2
