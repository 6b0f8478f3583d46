"""An agent that decides for a while before its decisions are carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.agents.base import Agent, Described
from manyparts.core.errors import UserError
from manyparts.core.records import Observation, Prompt
from manyparts.embodiment.holding import holding_action


@dataclass(frozen=True)
class Carry:
    """The memory of a `DelayedAgent`."""

    inner: Any = None
    """That of the agent inside."""

    waiting: tuple[np.ndarray, ...] = ()
    """Actions that are decided and not yet carried out, (a,) each."""

    before: np.ndarray | None = None
    """The last action that was carried out, (a,)."""


class DelayedAgent(Described):
    """Carries out what an agent decided some steps ago, as on a robot that does not stand still
    while it computes. What was decided before goes on meanwhile; at the start, the robot is held.

    Args:
        agent: Who decides.
        steps: From an observation to the first action that was decided from it, at least 1.
    """

    def __init__(self, agent: Agent, steps: int) -> None:
        self.agent, self.steps = agent, steps
        self.spec, self.prompted = agent.spec, agent.prompted

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return whether the agent inside looks."""
        return carry is None or self.agent.needs_observation(carry.inner)

    def act(
        self,
        carry: Carry | None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, Carry]:
        """See `agents.base.Agent`.

        Raises:
            UserError: Nobody knows how to hold the robot until the first decision.
        """
        carry = carry or Carry()
        decided, inner = self.agent.act(carry.inner, observation, prompt, explore=explore)
        waiting = (*carry.waiting, decided)
        if len(waiting) > self.steps:
            return waiting[0], Carry(inner, waiting[1:], waiting[0])
        state = None if observation is None else observation["state"]
        held = holding_action(self.spec, state, carry.before)
        if held is None:
            raise UserError(
                f"{self.spec.embodiment} acts by {self.spec.action.representation}, and nobody "
                "knows what holds it until the first delayed action; evaluate without a delay"
            )
        return held, Carry(inner, waiting, held)
