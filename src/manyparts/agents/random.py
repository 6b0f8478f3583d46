"""An agent that acts uniformly at random: the baseline that every other agent must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manyparts.agents.base import Described
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec


@dataclass(frozen=True)
class RandomCarry:
    """The memory of a `RandomAgent`."""

    step: int
    """Actions taken so far in this episode."""

    def to_plain(self) -> dict[str, int]:
        """Return plain values, for a checkpoint."""
        return {"step": self.step}


class RandomAgent(Described):
    """Draws actions within the action contract; it reads no observation and no prompt.

    Action number t of an episode is a pure function of (seed, t).

    Args:
        spec: The embodiment.
        seed: Seed of the actions.
    """

    prompted = False

    def __init__(self, spec: Spec, *, seed: int) -> None:
        self.spec = spec
        self.seed = seed

    def needs_observation(self, carry: RandomCarry | None) -> bool:
        """Return False."""
        return False

    def act(
        self,
        carry: RandomCarry | None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, RandomCarry]:
        """Return a uniform action, float32 (a,), and the new carry.

        Args:
            carry: What `act` returned at the step before; None at an episode's start.
            observation: Not used.
            prompt: Not used.
            explore: Not used: the action is random in any case.
        """
        step = 0 if carry is None else carry.step
        contract = self.spec.action
        # The counter's upper bits are the step's own: no two steps share random numbers.
        uniform = np.random.Generator(np.random.Philox(key=self.seed, counter=step << 64)).uniform(
            -1, 1, contract.dimension
        )
        return contract.denormalise(uniform), RandomCarry(step + 1)
