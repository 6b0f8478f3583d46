"""A context for Markov models, to which the current observation is all there is to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.models.dynamics.world_model import Imagination

StartImagination = Callable[[Tensor, torch.Generator | None], Imagination]
"""From the observations (n, s) of n candidates, and a generator or None, to an imagination."""


@dataclass(frozen=True, eq=False)
class MarkovContext:
    """See `Context`."""

    observation: Float[Tensor, "s"]
    """The current observation, normalised."""

    start: StartImagination
    """Starts an imagination of the model."""

    @classmethod
    def after(
        cls,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
        start: StartImagination,
    ) -> MarkovContext:
        """Return the context of the last of t observations.

        Args:
            observation: t observations, normalised; the last one is the current one.
            action: The t - 1 actions between them, of which only the number is checked.
            reward: The rewards of these actions, of which only the number is checked.
            start: Starts an imagination of the model.

        Raises:
            ValueError: There are not t - 1 actions and rewards.
        """
        require_lengths(observation, action, reward)
        return cls(observation[-1], start)

    def imagine(self, count: int, generator: torch.Generator | None = None) -> Imagination:
        """See `Context.imagine`."""
        # `expand` makes no copies; imaginations replace their observations and never write to them.
        return self.start(self.observation.expand(count, -1), generator)

    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> MarkovContext:
        """See `Context.extended`."""
        return MarkovContext(observation, self.start)


def require_lengths(observation: Tensor, action: Tensor, reward: Tensor) -> None:
    """Require t observations and t - 1 actions and rewards.

    Args:
        observation: (t, s).
        action: (t - 1, a).
        reward: (t - 1,).

    Raises:
        ValueError: The numbers of steps do not fit.
    """
    if len(observation) != len(action) + 1 or len(action) != len(reward):
        raise ValueError(
            f"{len(observation)} observations, {len(action)} actions, {len(reward)} rewards; "
            "expected one action and one reward between each two observations"
        )


def require_actions(action: Tensor, candidates: int, dimension: int) -> None:
    """Require an action for each candidate.

    Args:
        action: Of `Imagination.step`, unchecked.
        candidates: Number of candidates.
        dimension: Numbers of an action.

    Raises:
        ValueError: The shape is not (candidates, dimension).
    """
    if action.shape != (candidates, dimension):
        raise ValueError(
            f"actions have shape {tuple(action.shape)}, expected {(candidates, dimension)}"
        )
