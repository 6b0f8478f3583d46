"""A context for models to which the present observation is all there is to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.models.dynamics.world_model import Imagination


@dataclass(frozen=True, eq=False)
class MarkovContext:
    """See `Context`. begin: an imagination from the observations (n, s) of n candidates, with the
    generator of `imagination`."""

    observation: Float[Tensor, "s"]
    begin: Callable[[Tensor, torch.Generator | None], Imagination]

    @classmethod
    def after(
        cls,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
        begin: Callable[[Tensor, torch.Generator | None], Imagination],
    ) -> MarkovContext:
        """The last of t observations; raises ValueError unless there are t - 1 actions and
        rewards."""
        if len(observation) != len(action) + 1 or len(action) != len(reward):
            raise ValueError(
                f"{len(observation)} observations, {len(action)} actions, {len(reward)} rewards"
            )
        return cls(observation[-1], begin)

    def imagine(self, count: int, generator: torch.Generator | None = None) -> Imagination:
        """See `Context.imagine`."""
        return self.begin(self.observation.expand(count, -1), generator)

    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> MarkovContext:
        """See `Context.extended`."""
        return MarkovContext(observation, self.begin)


def require_actions(action: Tensor, candidates: int, dimension: int) -> None:
    """Raises ValueError unless there is an action for each candidate."""
    if action.shape != (candidates, dimension):
        raise ValueError(
            f"actions have shape {tuple(action.shape)}, expected {(candidates, dimension)}"
        )
