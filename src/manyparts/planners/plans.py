"""What planners share: drawing plans, predicting their returns, and moving a plan on by a step.

Dimensions: n plans, t steps, a actions, s numbers of the state, p proposals.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.serialisation import require_own_name
from manyparts.models.dynamics.world_model import Context, ImaginesInParallel, step_by_step

StepValue = Callable[[Tensor, Tensor, Tensor], Tensor]
"""What a step is worth: from observation (n, s), action (n, a) and reward (n,) to values (n,).

The observation is the one that the model predicts after the action, normalised; the action is
within [-1, 1]; the reward is the predicted one."""


class Plan(NamedTuple):
    """A plan and what the model predicts of it."""

    action: Float[Tensor, "t a"]
    """One action per step, within [-1, 1]."""

    predicted_return: Float[Tensor, ""]
    """The return that the model predicts for this very plan; nan if it was not asked."""


@dataclass(frozen=True)
class SearchConfig:
    """Settings of every planner that searches.

    The defaults are those of TDM (Schubert et al. 2023, arXiv 2305.10912).
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        require_own_name(cls, SearchConfig)

    @classmethod
    def declared_kinds(cls, name: str) -> tuple[type[SearchConfig], ...]:
        """The config classes of all planners that search, from which JSON's "type" chooses one.

        Args:
            name: That "type". If it is none of this package's, plug-ins are loaded.
        """
        # By name and on call: the package imports this module.
        return importlib.import_module("manyparts.planners").searches(name)

    candidates: int = 128
    """Number of plans that are tried at a time; at least 2."""

    horizon: int = 25
    """Steps of a plan; at least 1."""

    std: float = 2**0.5
    """Std of the plans' noise, in half-ranges of an action; above 0."""

    correlation: float = 0.0
    """Correlation of the noise of successive steps, from 0 to less than 1. White noise pushes back
    and forth, and leads less far the shorter a step is."""

    discount: float = 1.0
    """Factor of a step's value per step of delay; above 0 and at most 1."""

    policy_proposals: bool = False
    """Whether the model's own policy proposes a plan; for models that learned a policy."""

    proposal_fraction: float = 0.5
    """Fraction of the candidates that are drawn around proposals, if there are any; between 0 and
    1."""

    proposal_std: float = 0.3
    """Std of the noise around proposals, in half-ranges of an action; at least 0."""

    batch: int | None = None
    """Number of candidates that are imagined at once, which limits memory and changes no plan;
    None: all."""

    def __post_init__(self) -> None:
        for name, minimum in (("candidates", 2), ("horizon", 1), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(f"planner.{name} is {value}; expected at least {minimum}")
        for name, holds, expected in (
            ("std", 0 < self.std < math.inf, "a finite number above 0"),
            ("correlation", 0 <= self.correlation < 1, "at least 0 and less than 1"),
            ("discount", 0 < self.discount <= 1, "more than 0 and at most 1"),
            ("proposal_fraction", 0 < self.proposal_fraction < 1, "more than 0 and less than 1"),
            ("proposal_std", 0 <= self.proposal_std < math.inf, "a finite number, at least 0"),
        ):
            if not holds:
                raise UserError(f"planner.{name} is {getattr(self, name)}; expected {expected}")


def predicted_reward(
    observation: Float[Tensor, "n s"], action: Float[Tensor, "n a"], reward: Float[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """Return the reward as it is: the usual `StepValue`.

    Args:
        observation: Not used.
        action: Not used.
        reward: The predicted rewards.
    """
    return reward


def returns(
    context: Context,
    plans: Float[Tensor, "n t a"],
    config: SearchConfig,
    objective: StepValue,
    seed: int = 0,
) -> Float[Tensor, "n"]:
    """Return the discounted sum of what each plan's steps are worth.

    A plan has -inf if anything that the model predicts under it is not finite, so that it never
    wins.

    Args:
        context: Where the imagination starts.
        plans: Actions within [-1, 1].
        config: The discount and the batch size.
        objective: What a step is worth.
        seed: Seed of what a model draws; the same for all plans, however they are split.

    Raises:
        UserError: The objective returns anything but a number per candidate.
    """
    parts = plans.split(config.batch or len(plans))
    return torch.cat([_returns(context, part, config.discount, objective, seed) for part in parts])


def imagination_seed(generator: torch.Generator) -> int:
    """Return the seed of what a model draws in all imaginations of one planning step.

    With one seed for all, candidates meet the same random numbers and are compared fairly.
    """
    # A copy is asked, so that the plans that are drawn next do not depend on this question.
    copy = generator.clone_state()
    return int(torch.randint(2**31, (), generator=copy, device=copy.device))


def best(plans: Float[Tensor, "n t a"], plan_returns: Float[Tensor, "n"]) -> Plan:
    """Return the plan of the highest return, the first of equals.

    Args:
        plans: Actions within [-1, 1].
        plan_returns: What `returns` says of them.

    Raises:
        UserError: No plan has a finite return.
    """
    if not plan_returns.isfinite().any():
        raise UserError(
            f"no return of {len(plan_returns)} plans is a finite number; "
            "check that the model has learned, and that the objective is finite"
        )
    # nan was replaced by -inf in `returns`; argmax would take nan for the largest.
    index = plan_returns.argmax()
    return Plan(plans[index], plan_returns[index])


def moved_on(plan: Float[Tensor, "t a"]) -> Float[Tensor, "t a"]:
    """Return the plan one step later: its first action is done, its last action is held."""
    return torch.cat([plan[1:], plan[-1:]])


def candidates(
    start: Float[Tensor, "t a"],
    centre: Float[Tensor, "t a"],
    config: SearchConfig,
    generator: torch.Generator,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Float[Tensor, "n t a"]:
    """Draw plans to try, within [-1, 1].

    Their order: the proposals themselves; plans around proposals, in turn; plans around `centre`;
    and, as the last one, `start` itself.

    Args:
        start: The plan to improve, of `config.horizon` steps.
        centre: The plan around which all are drawn that are not drawn around proposals.
        config: The number of plans, and their noise.
        generator: Source of the noise.
        proposals: Plans (p, t, a) of the same horizon, at most `config.proposal_fraction` of the
            candidates. None if there are none.

    Raises:
        UserError: Proposals do not fit or are not finite.
        ValueError: `start` has another length than the horizon.
    """
    if len(start) != config.horizon:
        raise ValueError(
            f"the plan to begin from has {len(start)} steps; expected the horizon, {config.horizon}"
        )
    proposals = start[None][:0] if proposals is None else proposals
    # One candidate is always left for `start`.
    max_proposals = min(round(config.proposal_fraction * config.candidates), config.candidates - 1)
    if len(proposals) > max_proposals or proposals.shape[1:] != start.shape:
        expected = f"at most {max_proposals} of shape {tuple(start.shape)}"
        raise UserError(f"proposals have shape {tuple(proposals.shape)}; expected {expected}")
    if not proposals.isfinite().all():
        raise UserError("proposals have actions that are not finite; expected numbers in [-1, 1]")
    count = max_proposals if len(proposals) else 0
    # A std of 0 keeps the proposals as they are among plans that are drawn around them.
    std = centre.new_full((config.candidates, 1, 1), config.std)
    std[:count], std[: len(proposals)] = config.proposal_std, 0
    # Indices 0, 1, .., p - 1, 0, 1, ..: plans around proposals take them in turn.
    in_turn = torch.arange(count, device=centre.device) % max(1, len(proposals))
    centres = torch.cat([proposals[in_turn], centre.expand(config.candidates - count, -1, -1)])
    plans = (centres + std * noise(config, start, generator)).clamp(-1, 1)
    # The last plan is always tried as it is, so that a lucky draw is not lost at the next step.
    plans[-1] = start.clamp(-1, 1)
    return plans


def noise(
    config: SearchConfig, like: Float[Tensor, "t a"], generator: torch.Generator
) -> Float[Tensor, "n t a"]:
    """Draw standard normal noise for all candidates, correlated along time.

    n(t) = c n(t-1) + sqrt(1 - c^2) e(t), with e standard normal and n(0) = e(0).

    Args:
        config: The number of candidates, n, and the correlation, c.
        like: A plan; the noise has its shape and device.
        generator: Source of the noise, on the same device.
    """
    white = torch.randn(config.candidates, *like.shape, generator=generator, device=like.device)
    # The recursion as one lower-triangular matrix: e(s) enters n(t) by c^(t - s), times the square
    # root for all but the first one, which keeps the variance at 1 from the first step on.
    steps = torch.arange(len(like), device=like.device)
    weights = (float(config.correlation) ** (steps[:, None] - steps).clamp(min=0)).tril()
    weights[:, 1:] *= (1 - config.correlation**2) ** 0.5
    return torch.einsum("ts,nsa->nta", weights, white)


def _returns(
    context: Context,
    plans: Float[Tensor, "n t a"],
    discount: float,
    objective: StepValue,
    seed: int,
) -> Float[Tensor, "n"]:
    """Return what `returns` does, for one batch of plans."""
    # A fresh generator per batch: each batch then meets the same random numbers as any other.
    generator = torch.Generator(plans.device).manual_seed(seed)
    if isinstance(context, ImaginesInParallel):
        observation, reward = context.imagined(plans, generator)
    else:
        observation, reward = step_by_step(context.imagine(len(plans), generator), plans)
    total = plans.new_zeros(len(plans))
    for step, action in enumerate(plans.unbind(dim=1)):
        value = objective(observation[:, step], action, reward[:, step])
        _require_values(value, len(plans))
        total = total + discount**step * torch.as_tensor(
            value, dtype=total.dtype, device=total.device
        )
    # The predictions are checked as well as the total: an objective may be finite where they are
    # not.
    finite = observation.isfinite().flatten(1).all(dim=1) & reward.isfinite().all(dim=1)
    return total.where(finite & total.isfinite(), -torch.inf)


def _require_values(value: object, count: int) -> None:
    """Raise UserError unless an objective's value has a number per candidate."""
    if getattr(value, "shape", None) == (count,):
        return
    if isinstance(value, Tensor):
        returned = f"shape {tuple(value.shape)}"
    else:
        returned = f"a {type(value).__name__}"
    raise UserError(f"the objective returns {returned}; expected a tensor of shape {(count,)}")
