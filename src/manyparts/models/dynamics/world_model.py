"""What planners see of a world model: a context that is encoded once, and its imaginations.

Dimensions: n candidates, t steps, u actions, s numbers of the state, a numbers of an action.
Observations are states, normalised; actions are within [-1, 1].
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


class Prediction(NamedTuple):
    """What follows an action; with a dimension t, what follows each of several in a row."""

    observation: Float[Tensor, "n *t s"]
    """The next observation, normalised."""

    reward: Float[Tensor, "n *t"]
    """The reward of the action."""


@runtime_checkable
class Imagination(Protocol):
    """Futures of n candidates that start from one context, each going on from its predictions."""

    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """Predict what follows an action of each candidate, and go on from there."""
        ...


@runtime_checkable
class ProposesActions(Protocol):
    """An imagination of a model that learned a policy as well."""

    def policy(self) -> Float[Tensor, "n a"]:
        """Return the actions that the model would take now, within [-1, 1].

        The imagination does not move.

        Raises:
            UserError: The model learned no policy.
        """
        ...


@runtime_checkable
class Context(Protocol):
    """What has been seen so far, encoded. It is immutable: `extended` returns another one."""

    def imagine(self, count: int, generator: torch.Generator | None = None) -> Imagination:
        """Start futures of `count` candidates.

        Args:
            count: Number of candidates.
            generator: Source of what the model draws, if it draws. All candidates meet the same
                random numbers, so that a candidate's future does not depend on the others. None: a
                fresh generator with always the same seed.
        """
        ...

    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> Context:
        """Return the context after one more step.

        Steps beyond the model's maximum are dropped, the oldest first.

        Args:
            action: The action that was executed, within [-1, 1].
            reward: The reward of the action.
            observation: The observation after it, normalised, which is now the current one.
        """
        ...


@runtime_checkable
class ImaginesInParallel(Protocol):
    """A context that rolls out whole plans faster than step by step."""

    def imagined(
        self, plans: Float[Tensor, "n t a"], generator: torch.Generator | None = None
    ) -> Prediction:
        """Return what the model predicts under plans.

        It equals what an imagination predicts that takes the plans' steps one by one.

        Args:
            plans: Actions within [-1, 1].
            generator: See `Context.imagine`.

        Returns:
            Observations (n, t, s), normalised, and rewards (n, t).
        """
        ...


@torch.no_grad()
def step_by_step(imagination: Imagination, plans: Float[Tensor, "n t a"]) -> Prediction:
    """Return what an imagination predicts under plans.

    Args:
        imagination: Of n candidates. It cannot be used afterwards.
        plans: Actions within [-1, 1].

    Returns:
        Observations (n, t, s), normalised, and rewards (n, t).
    """
    # Inference mode spares each step autograd's bookkeeping. Tensors that the imagination keeps
    # become inference tensors, which is why it cannot go on outside of this function.
    with torch.inference_mode():
        steps = [imagination.step(action) for action in plans.unbind(dim=1)]
    return Prediction(
        torch.stack([each[0] for each in steps], dim=1),
        torch.stack([each[1] for each in steps], dim=1),
    )


@runtime_checkable
class WorldModel(Protocol):
    """A model that can be planned with."""

    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> Context:
        """Encode what has been seen so far.

        Args:
            observation: t observations; the last one is the current one.
            action: The u = t - 1 actions between them.
            reward: The rewards of these actions.
        """
        ...
