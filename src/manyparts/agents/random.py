"""An agent that acts uniformly at random within its action contract: the floor every other agent
must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manyparts.agents.base import Described
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec


@dataclass(frozen=True)
class RandomCarry:
    """step: actions taken so far in this episode."""

    step: int


class RandomAgent(Described):
    """Action number t of an episode is a pure function of (seed, t). It looks at nothing and needs
    no prompt."""

    prompted = False

    def __init__(self, spec: Spec, *, seed: int) -> None:
        self.spec = spec
        self.seed = seed

    def needs_observation(self, carry: RandomCarry | None) -> bool:
        return False

    def act(
        self,
        carry: RandomCarry | None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, RandomCarry]:
        """A uniform action, float32 (a,), whether or not it is told to explore."""
        step = 0 if carry is None else carry.step
        contract = self.spec.action
        uniform = np.random.Generator(np.random.Philox(key=self.seed, counter=step << 64)).uniform(
            -1, 1, contract.dimension
        )
        return contract.denormalise(uniform), RandomCarry(step + 1)
