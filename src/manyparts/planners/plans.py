"""What planners share: drawing plans, asking a world model what each comes to, and moving a plan on
by a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.models.dynamics.world_model import Context, ImaginesInParallel, step_by_step

StepValue = Callable[[Tensor, Tensor, Tensor], Tensor]
"""What a step is worth: (observation (n, s), action (n, a), reward (n,)) to (n,). The observation
is the one that the model predicts after the action, normalised; the action is within [-1, 1]; the
reward is the predicted one."""


class Plan(NamedTuple):
    """action: one a step, within [-1, 1]. predicted_return: what the model says of this very
    plan."""

    action: Float[Tensor, "t a"]
    predicted_return: Float[Tensor, ""]


@dataclass(frozen=True)
class SearchConfig:
    """What every planner is told. The defaults are those of TDM (Schubert et al. 2023, arXiv
    2305.10912)."""

    candidates: int = 128
    """Plans that are tried at a time."""

    horizon: int = 25
    """Steps of a plan."""

    std: float = 2**0.5
    """Of the noise of plans, in half-ranges of an action."""

    correlation: float = 0.0
    """Of the noise of successive steps. White noise pushes to and fro, which leads less far the
    shorter a step is."""

    discount: float = 1.0
    """A step later, what a step is worth counts so much."""

    policy_proposals: bool = False
    """Whether the model's own policy proposes a plan, for models that learned one."""

    proposal_fraction: float = 0.5
    """Share of the candidates that are drawn around proposals, where there are any."""

    proposal_std: float = 0.3
    """Of the noise around proposals."""

    batch: int | None = None
    """Candidates that are imagined at once, which bounds the memory and changes no plan; None:
    all."""

    def __post_init__(self) -> None:
        for name, least in (("candidates", 2), ("horizon", 1), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"planner.{name} is {value}; expected at least {least}")
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
    """The usual `StepValue`."""
    return reward


def returns(
    context: Context,
    plans: Float[Tensor, "n t a"],
    config: SearchConfig,
    objective: StepValue,
    seed: int = 0,
) -> Float[Tensor, "n"]:
    """The discounted sum of what each plan's steps are worth. -inf for a plan under which anything
    that the model predicts is not finite: one that explodes never wins. seed: of what a model
    draws; the same for all plans, however they are split.

    Raises UserError if the objective tells anything but a number for each candidate."""
    parts = plans.split(config.batch or len(plans))
    return torch.cat([_returns(context, part, config.discount, objective, seed) for part in parts])


def imagination_seed(generator: torch.Generator) -> int:
    """The seed of what a model draws in all imaginations of a plan, so that its candidates are
    compared alike. The generator stays as it is."""
    twin = generator.clone_state()
    return int(torch.randint(2**31, (), generator=twin, device=twin.device))


def best(plans: Float[Tensor, "n t a"], found: Float[Tensor, "n"]) -> Plan:
    """The plan of the highest return, the first of equals. Raises UserError if none has a finite
    one."""
    if not found.isfinite().any():
        raise UserError(
            f"no return of {len(found)} plans is a finite number; has the model learned, and is the objective finite?"
        )
    place = found.argmax()
    return Plan(plans[place], found[place])


def moved_on(plan: Float[Tensor, "t a"]) -> Float[Tensor, "t a"]:
    """The same plan a step later: its first action is done, its last one is held."""
    return torch.cat([plan[1:], plan[-1:]])


def candidates(
    start: Float[Tensor, "t a"],
    centre: Float[Tensor, "t a"],
    config: SearchConfig,
    generator: torch.Generator,
    proposals: Float[Tensor, "p _ _"] | None = None,
) -> Float[Tensor, "n t a"]:
    """Plans to try: a share around proposals, each of these once as it is; the others around
    `centre`; and, the last, `start`. Raises UserError for proposals that do not fit or are not
    finite."""
    if len(start) != config.horizon:
        raise ValueError(
            f"the plan to begin from has {len(start)} steps; expected the horizon, {config.horizon}"
        )
    proposals = start[None][:0] if proposals is None else proposals
    room = min(round(config.proposal_fraction * config.candidates), config.candidates - 1)
    if len(proposals) > room or proposals.shape[1:] != start.shape:
        expected = f"at most {room} of shape {tuple(start.shape)}"
        raise UserError(f"proposals have shape {tuple(proposals.shape)}; expected {expected}")
    if not proposals.isfinite().all():
        raise UserError("proposals have actions that are not finite; expected numbers in [-1, 1]")
    count = room if len(proposals) else 0
    std = centre.new_full((config.candidates, 1, 1), config.std)
    std[:count], std[: len(proposals)] = config.proposal_std, 0
    turns = torch.arange(count, device=centre.device) % max(1, len(proposals))
    centres = torch.cat([proposals[turns], centre.expand(config.candidates - count, -1, -1)])
    plans = (centres + std * noise(config, start, generator)).clamp(-1, 1)
    plans[-1] = start.clamp(-1, 1)
    return plans


def noise(
    config: SearchConfig, like: Float[Tensor, "t a"], generator: torch.Generator
) -> Float[Tensor, "n t a"]:
    """Standard normal, of all candidates at once; correlated along time: n(t) = c n(t-1) + sqrt(1 -
    c^2) e(t)."""
    white = torch.randn(config.candidates, *like.shape, generator=generator, device=like.device)
    steps = torch.arange(len(like), device=like.device)
    share = (float(config.correlation) ** (steps[:, None] - steps).clamp(min=0)).tril()
    share[:, 1:] *= (1 - config.correlation**2) ** 0.5
    return torch.einsum("ts,nsa->nta", share, white)


def _returns(
    context: Context,
    plans: Float[Tensor, "n t a"],
    discount: float,
    objective: StepValue,
    seed: int,
) -> Float[Tensor, "n"]:
    generator = torch.Generator(plans.device).manual_seed(seed)
    if isinstance(context, ImaginesInParallel):
        observation, reward = context.imagined(plans, generator)
    else:
        observation, reward = step_by_step(context.imagine(len(plans), generator), plans)
    total = plans.new_zeros(len(plans))
    for step, action in enumerate(plans.unbind(dim=1)):
        worth = objective(observation[:, step], action, reward[:, step])
        if getattr(worth, "shape", None) != total.shape:
            told = (
                f"shape {tuple(worth.shape)}"
                if isinstance(worth, Tensor)
                else f"a {type(worth).__name__}"
            )
            raise UserError(
                f"the objective returns {told}; expected a tensor of shape {tuple(total.shape)}"
            )
        total = total + discount**step * torch.as_tensor(
            worth, dtype=total.dtype, device=total.device
        )
    finite = observation.isfinite().flatten(1).all(dim=1) & reward.isfinite().all(dim=1)
    return total.where(finite & total.isfinite(), -torch.inf)
