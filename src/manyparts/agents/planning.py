"""Model-predictive control: an agent that plans with a world model at every step and does the
plan's first action."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.agents.base import Described, refuse_prompt
from manyparts.agents.checks import require_actions, require_carry, state_of
from manyparts.agents.generators import generator_of
from manyparts.agents.origin import Origin
from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.models.dynamics.world_model import Context, WorldModel
from manyparts.planners import PlannerConfig, plan
from manyparts.planners.plans import (
    SearchConfig,
    StepValue,
    imagination_seed,
    moved_on,
    predicted_reward,
)
from manyparts.planners.proposals import policy_proposal

Propose = Callable[[Context, Tensor], Tensor]
"""From the context and the present observation (s,), normalised, to plans (p, t, a) within [-1, 1];
`followed` makes one of a policy."""


@shown_short
@dataclass(frozen=True)
class Carry:
    """One slot's memory. context: up to the observation that `action`, the last one, (a,) within
    [-1, 1], answered. plan: (t, a), that which `action` began. steps: taken so far."""

    context: Context
    action: Tensor
    plan: Tensor
    steps: int


class MpcAgent(Described):
    """Acts by planning. A step extends the context by what was seen, which encodes nothing again,
    and costs a plan, which goes on from the last one.

    An agent is not told rewards. The history's are those that the model predicts for the actions
    that were done, one step ahead of what was really seen.
    """

    prompted = False
    environment: Mapping[str, Any] = {}
    origin: Origin | None = None

    def __init__(
        self,
        model: WorldModel,
        spec: Spec,
        normaliser: StateNormaliser,
        planner: PlannerConfig,
        *,
        objective: StepValue | None = None,
        propose: Propose | None = None,
        exploration: float = 0.3,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        """objective: what a step is worth, of observations and actions in the simulator's units;
        None: the predicted reward. propose: plans to try beside the planner's own; None: that of
        the model's policy, if `planner.policy_proposals`. exploration: std of what is added to
        actions when the agent explores, in half-ranges. seed: of what it and its model draw.
        device: the model's. Raises UserError for a body without a state or with discrete
        actions."""
        if not spec.state_dimension:
            raise UserError(f"the embodiment {spec.embodiment!r} has no state; planning needs one")
        if spec.action.choices:
            names = ", ".join(spec.action.choices)
            raise UserError(
                f"planners need continuous actions; {spec.embodiment!r} has choices: {names}"
            )
        self.model, self.spec, self.planner = model, spec, planner
        self.exploration, self.seed = exploration, seed
        self._propose, self._normaliser, self._device = propose, normaliser, torch.device(device)
        self._objective = (
            predicted_reward if objective is None else self._of_units(callable_objective(objective))
        )

    def with_seed(self, seed: int) -> MpcAgent:
        """The same agent with other draws, on the same weights."""
        other = copy(self)
        other.seed = seed
        return other

    def needs_observation(self, carry: Carry | None) -> bool:
        return True

    @torch.inference_mode()
    def act(
        self,
        carry: Carry | None,
        observation: Observation | None,
        prompt: Prompt | str | None = None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, Carry]:
        """See `agents.base.Agent`. Raises UserError for a prompt, an observation that does not fit
        or is not finite, or a model whose predictions are not finite whatever is done."""
        refuse_prompt(prompt)
        require_carry(carry, Carry)
        if observation is None:
            raise UserError("act needs an observation")
        state, steps = self._state(observation), 0 if carry is None else carry.steps
        generator = generator_of(self.seed, steps, self._device)
        context = self._context(carry, state, imagination_seed(generator))
        start = self._nothing() if carry is None else moved_on(carry.plan)
        proposals = self._proposals(context, state)
        planned = plan(
            context, self.planner, generator, start, objective=self._objective, proposals=proposals
        ).action
        action = planned[0]
        if explore:
            noise = torch.randn(action.shape, generator=generator, device=self._device)
            action = (action + self.exploration * noise).clamp(-1, 1)
        done = require_actions(action.cpu().numpy(), self.spec)
        return self.spec.action.denormalise(done), Carry(context, action, planned, steps + 1)

    def _context(self, carry: Carry | None, state: Float[Tensor, "s"], seed: int) -> Context:
        """All that was seen and done, up to the present observation. seed: of what a model
        draws."""
        if carry is None:
            return self.model.encode(state[None], self._nothing()[:0], state.new_zeros(0))
        generator = torch.Generator(self._device).manual_seed(seed)
        predicted = carry.context.imagine(1, generator).step(carry.action[None])
        return carry.context.extended(carry.action, predicted.reward[0], state)

    def _proposals(
        self, context: Context, state: Float[Tensor, "s"]
    ) -> Float[Tensor, "p t a"] | None:
        if self._propose is not None:
            return self._propose(context, state)
        if isinstance(self.planner, SearchConfig) and self.planner.policy_proposals:
            return policy_proposal(context, horizon=self.planner.horizon)
        return None

    def _nothing(self) -> Float[Tensor, "t a"]:
        """A plan to do nothing: the middle of every action's range."""
        return torch.zeros(self.planner.horizon, self.spec.action.dimension, device=self._device)

    def _state(self, observation: Observation | None) -> Float[Tensor, "s"]:
        return torch.from_numpy(state_of(observation, self.spec, self._normaliser)).to(self._device)

    def _of_units(self, objective: StepValue) -> StepValue:
        """The objective for what the model sees."""
        mean, std, low, high = (
            torch.tensor(values, dtype=torch.float32, device=self._device)
            for values in (
                self._normaliser.mean,
                self._normaliser.scale,
                self.spec.action.low,
                self.spec.action.high,
            )
        )

        def of_normalised(observation: Tensor, action: Tensor, reward: Tensor) -> Tensor:
            return objective(
                observation * std + mean, low + (action + 1) / 2 * (high - low), reward
            )

        return of_normalised


def callable_objective(given: Any) -> StepValue:
    """The objective. Raises UserError for what cannot be called with observations, actions and
    rewards."""
    objective: Any = given
    expected = "expected a function of observations (n, s), actions (n, a) and rewards (n,)"
    if not callable(given):
        raise UserError(f"the objective is {given!r}; {expected}")
    try:
        signature = inspect.signature(given)
    except ValueError:  # some functions in C have none
        return objective
    try:
        signature.bind(None, None, None)
    except TypeError as error:
        raise UserError(
            f"the objective cannot be called with three arguments ({error}); {expected}"
        ) from None
    return objective
