"""Plans that a policy proposes: what it would do in a world model's imagination."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.models.dynamics.world_model import Context, Imagination, ProposesActions

Policy = Callable[[Tensor], Tensor]
"""From observations (n, s), normalised, to actions (n, a), within [-1, 1]; it may sample."""


@torch.no_grad()
def followed(
    context: Context,
    observation: Float[Tensor, "s"],
    policy: Policy,
    *,
    count: int,
    horizon: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n t a"]:
    """Return plans of a policy that sees what the model predicts of its actions.

    Once a prediction is not finite, the plan holds its last action.

    Args:
        context: Where the imagination starts.
        observation: The current observation, normalised.
        policy: Chooses the actions.
        count: Number of plans.
        horizon: Steps of a plan.
        generator: See `Context.imagine`.
    """

    def act(predicted: Tensor | None) -> Tensor:
        current = observation.expand(count, -1) if predicted is None else predicted
        return policy(current).clamp(-1, 1)

    return _imagined_actions(context.imagine(count, generator), act, horizon)


@torch.no_grad()
def policy_proposal(context: Context, *, horizon: int) -> Float[Tensor, "1 t a"]:
    """Return one plan of the model's own policy; otherwise as `followed`.

    Args:
        context: Where the imagination starts.
        horizon: Steps of the plan.

    Raises:
        UserError: The model has no policy.
    """
    imagination = context.imagine(1)
    if not isinstance(imagination, ProposesActions):
        raise UserError(
            "this dynamics model has no policy to propose plans; a transformer trained with one has"
        )
    return _imagined_actions(imagination, lambda _: imagination.policy(), horizon)


def _imagined_actions(
    imagination: Imagination, act: Callable[[Tensor | None], Tensor], horizon: int
) -> Float[Tensor, "n t a"]:
    """Return the actions that `act` takes in an imagination.

    Args:
        imagination: Is used up.
        act: From the last predicted observation, None at first, to actions.
        horizon: Number of actions.
    """
    predicted, actions, finite = None, [], []
    # The policy answers the real observation first, and then the model's predictions.
    for _ in range(horizon):
        actions.append(act(predicted))
        predicted, reward = imagination.step(actions[-1])
        finite.append(predicted.isfinite().all(dim=1) & reward.isfinite())
    # The number of predictions before the first bad one. Action number k answers prediction k - 1,
    # so it is the index of the last action that can be trusted; later steps repeat that action.
    last_trusted = torch.stack(finite, dim=1).cumprod(dim=1).sum(dim=1)
    plans = torch.stack(actions, dim=1)
    steps = torch.arange(horizon, device=plans.device).minimum(last_trusted[:, None])
    return plans.take_along_dim(steps[..., None], dim=1)
