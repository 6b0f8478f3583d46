"""The expert beside the agent: an episode of its own with the same seed, step by step."""

from __future__ import annotations

from collections.abc import Callable
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


def begun_beside(
    beside: Beside | None, made: Callable[[], Environment] | None, seed: int, steps: int
) -> Beside | None:
    """Return the expert beside an episode, at its beginning.

    Args:
        beside: Who was there in the episode before.
        made: Makes an environment of the task; None: nobody is to be there.
        seed: The episode's.
        steps: How many steps it has gone on.
    """
    if made is None:
        if beside is not None:
            beside.env.close()
        return None
    beside = beside or Beside(made())
    beside.begin(seed, steps)
    return beside
