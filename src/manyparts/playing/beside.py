"""The expert beside the agent: an episode of its own with the same seed, step by step."""

from __future__ import annotations

from typing import Any

from manyparts.agents.expert import ExpertAgent
from manyparts.envs.base import Environment


class Beside:
    """The expert in an environment of its own.

    Args:
        env: The environment, which belongs to this from now on.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env
        self._expert = ExpertAgent(env)
        self._carry: Any = None
        self._ended = True

    def begin(self, seed: int, steps: int) -> None:
        """Begin an episode, and catch up with another one of the same seed.

        Args:
            seed: Of both.
            steps: Steps that the other one has taken.
        """
        self.env.begin(seed)
        self._expert, self._carry, self._ended = ExpertAgent(self.env), None, False
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        """Let the expert take a step, if its episode goes on."""
        if self._ended:
            return
        action, self._carry = self._expert.act(self._carry, None, None, explore=False)
        _, terminated, truncated, _ = self.env.advance(action)
        self._ended = bool(terminated or truncated)
