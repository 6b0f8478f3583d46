"""What planners see of a world model: a context that is encoded once, and futures that many
candidates imagine."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


class Prediction(NamedTuple):
    """What follows an action: the next observation, normalised, and the action's reward; or, with a
    dimension t, what follows each of several in a row."""

    observation: Float[Tensor, "n *t s"]
    reward: Float[Tensor, "n *t"]


@runtime_checkable
class Imagination(Protocol):
    """Futures of n candidates that go on from one context, each from its own last prediction."""

    def step(self, action: Float[Tensor, "n a"]) -> Prediction: ...


@runtime_checkable
class ProposesActions(Protocol):
    """An imagination of a model that learned what to do, too."""

    def policy(self) -> Float[Tensor, "n a"]:
        """The actions that the model would take now, within [-1, 1]; the imagination stays where it
        is. Raises UserError if it learned none."""
        ...


@runtime_checkable
class Context(Protocol):
    """What has been seen so far, encoded. It does not change: `extended` is another one."""

    def imagine(self, count: int, generator: torch.Generator | None = None) -> Imagination:
        """Futures of `count` candidates. generator: of all that is drawn in them, where the model
        draws; the same for every candidate, so that a candidate's future does not depend on the
        others. None: a fresh one, always alike."""
        ...

    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> Context:
        """After one more step; steps that the model has no place for go, the oldest first."""
        ...


@runtime_checkable
class ImaginesInParallel(Protocol):
    """A context that imagines whole plans faster than step by step."""

    def imagined(
        self, plans: Float[Tensor, "n t a"], generator: torch.Generator | None = None
    ) -> Prediction:
        """What an imagination of all plans comes to: observations (n, t, s) and rewards (n, t).
        generator: see `Context.imagine`."""
        ...


@torch.no_grad()
def step_by_step(imagination: Imagination, plans: Float[Tensor, "n t a"]) -> Prediction:
    """Observations (n, t, s) and rewards (n, t) of an imagination under plans, which is over then:
    what it holds cannot be gone on from, so that its steps are spared autograd's accounts."""
    with torch.inference_mode():
        steps = [imagination.step(action) for action in plans.unbind(dim=1)]
    return Prediction(
        torch.stack([each[0] for each in steps], dim=1),
        torch.stack([each[1] for each in steps], dim=1),
    )


@runtime_checkable
class WorldModel(Protocol):
    """A model that can be planned with. Observations are normalised, actions within [-1, 1]."""

    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> Context:
        """t observations and the u = t - 1 actions and rewards between them."""
        ...
