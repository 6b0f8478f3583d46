"""Model-predictive control: an agent that plans at every step and takes the plan's first action."""

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
from manyparts.embodiment.codec import Codec
from manyparts.models.dynamics.world_model import (
    Context,
    ImaginesInParallel,
    WorldModel,
    step_by_step,
)
from manyparts.planners import PlannerConfig, plan
from manyparts.planners.plans import (
    SearchConfig,
    StepValue,
    imagination_seed,
    moved_on,
    predicted_reward,
)
from manyparts.planners.proposals import policy_proposal
from manyparts.planners.tried import first_candidates

Propose = Callable[[Context, Tensor], Tensor]
"""From the context and the current observation (s,), normalised, to plans (p, t, a) within [-1, 1].
`planners.proposals.followed` makes them from a policy."""


@shown_short
@dataclass(frozen=True)
class Carry:
    """The memory of an `MpcAgent`."""

    context: Context
    """What was seen up to the observation that `action` answered."""

    action: Tensor
    """The last action, (a,) within [-1, 1]."""

    plan: Tensor
    """The last plan (t, a), of which `action` is the first one."""

    steps: int
    """Actions taken so far."""


@dataclass(frozen=True)
class Imagined:
    """Where plans lead, as the model predicts it."""

    plan: np.ndarray
    """float32 (t, s), the states under the plan that was chosen, in the simulator's units."""

    tried: np.ndarray
    """float32 (n, t, s), the same under plans that were tried."""


class MpcAgent(Described):
    """Acts by planning.

    A step extends the context by the new observation, which encodes nothing twice, and searches for
    a plan, starting from the last one. An agent gets no rewards: those in its context are predicted
    by the model for the actions that were executed, one step from what was really seen.

    Args:
        model: Predicts what follows actions.
        codec: Of the embodiment, which has a state and continuous actions.
        planner: Which planner, and its settings.
        objective: What a step is worth, from observations and actions in the simulator's units.
            None: the predicted reward.
        propose: Plans that are tried as well. None: that of the model's policy, if
            `planner.policy_proposals` is set.
        exploration: Std of the noise on actions when the agent explores, in half-ranges.
        seed: Seed of what the agent and its model draw.
        device: The model's device.

    Raises:
        UserError: The embodiment has no state or discrete actions.
    """

    prompted = False
    environment: Mapping[str, Any] = {}
    origin: Origin | None = None

    def __init__(
        self,
        model: WorldModel,
        codec: Codec,
        planner: PlannerConfig,
        *,
        objective: StepValue | None = None,
        propose: Propose | None = None,
        exploration: float = 0.3,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        spec = codec.spec
        if not spec.state_dimension:
            raise UserError(f"the embodiment {spec.embodiment!r} has no state; planning needs one")
        if spec.action.choices:
            names = ", ".join(spec.action.choices)
            raise UserError(
                f"planners need continuous actions; {spec.embodiment!r} has choices: {names}"
            )
        self.model, self.spec, self.planner = model, spec, planner
        self.exploration, self.seed = exploration, seed
        self._propose, self._codec, self._device = propose, codec, torch.device(device)
        self._objective: StepValue = predicted_reward
        if objective is not None:
            self._objective = self._of_normalised(callable_objective(objective))

    def with_seed(self, seed: int) -> MpcAgent:
        """Return an agent with the same weights that draws other random numbers."""
        other = copy(self)
        other.seed = seed
        return other

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return True: it plans at every step."""
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
        """See `agents.base.Agent`.

        Raises:
            UserError: There is a prompt; the observation does not fit or is not finite; or the
                model's predictions are not finite under any plan.
        """
        refuse_prompt(prompt)
        require_carry(carry, Carry)
        if observation is None:
            raise UserError("act needs an observation")
        state, steps = self._state(observation), 0 if carry is None else carry.steps
        # The order of draws is: nothing for the seed (a copy is asked), then plans, then the noise.
        generator = generator_of(self.seed, steps, self._device)
        context = self._context(carry, state, imagination_seed(generator))
        start = self._idle_plan() if carry is None else moved_on(carry.plan)
        proposals = self._proposals(context, state)
        planned = plan(
            context, self.planner, generator, start, objective=self._objective, proposals=proposals
        ).action
        action = planned[0]
        if explore:
            noise = torch.randn(action.shape, generator=generator, device=self._device)
            action = (action + self.exploration * noise).clamp(-1, 1)
        executed = require_actions(action.cpu().numpy(), self.spec)
        return self._codec.decode_action(executed), Carry(context, action, planned, steps + 1)

    @torch.inference_mode()
    def imagined(self, before: Carry | None, carry: Carry, count: int) -> Imagined:
        """Return where the last plan leads, and the first plans that were tried for it.

        Args:
            before: The memory before the last decision.
            carry: The memory after it.
            count: Tried plans at most. There are none of an agent with proposals of its own.
        """
        generator = generator_of(self.seed, carry.steps - 1, self._device)
        seed = imagination_seed(generator)
        start = self._idle_plan() if before is None else moved_on(before.plan)
        plans = carry.plan[None]
        if self._propose is None:
            proposals = self._proposals(carry.context, carry.plan.new_zeros(0))
            tried = first_candidates(self.planner, start, generator, proposals)
            plans = torch.cat([plans, tried[:count]])
        draws = torch.Generator(self._device).manual_seed(seed)
        if isinstance(carry.context, ImaginesInParallel):
            observation, _ = carry.context.imagined(plans, draws)
        else:
            observation, _ = step_by_step(carry.context.imagine(len(plans), draws), plans)
        states = self._codec.decode_state(observation.float().cpu().numpy()).astype(np.float32)
        return Imagined(states[0], states[1:])

    def _context(self, carry: Carry | None, state: Float[Tensor, "s"], seed: int) -> Context:
        """Return the context up to the current observation. seed: of what the model draws."""
        if carry is None:
            return self.model.encode(state[None], self._idle_plan()[:0], state.new_zeros(0))
        generator = torch.Generator(self._device).manual_seed(seed)
        # The last action is known, the reward it earned is not: the model's prediction stands in.
        predicted = carry.context.imagine(1, generator).step(carry.action[None])
        return carry.context.extended(carry.action, predicted.reward[0], state)

    def _proposals(
        self, context: Context, state: Float[Tensor, "s"]
    ) -> Float[Tensor, "p t a"] | None:
        """Return the plans that are tried as well, if any."""
        if self._propose is not None:
            return self._propose(context, state)
        if isinstance(self.planner, SearchConfig) and self.planner.policy_proposals:
            return policy_proposal(context, horizon=self.planner.horizon)
        return None

    def _idle_plan(self) -> Float[Tensor, "t a"]:
        """Return a plan to do nothing: the middle of every action's range."""
        return torch.zeros(self.planner.horizon, self.spec.action.dimension, device=self._device)

    def _state(self, observation: Observation | None) -> Float[Tensor, "s"]:
        """Return the normalised state on the model's device."""
        return torch.from_numpy(state_of(observation, self._codec)).to(self._device)

    def _of_normalised(self, objective: StepValue) -> StepValue:
        """Return an objective in simulator units as one of normalised observations and actions."""
        decode = self._codec.tensor_decoder(self._device)

        def of_normalised(observation: Tensor, action: Tensor, reward: Tensor) -> Tensor:
            return objective(*decode(observation, action), reward)

        return of_normalised


def callable_objective(objective: Any) -> StepValue:
    """Return the objective.

    Raises:
        UserError: It cannot be called with observations, actions and rewards.
    """
    function: Any = objective  # `callable` would narrow its results to `object`
    expected = "expected a function of observations (n, s), actions (n, a) and rewards (n,)"
    if not callable(objective):
        raise UserError(f"the objective is {objective!r}; {expected}")
    try:
        signature = inspect.signature(objective)
    except ValueError:  # some functions in C have none
        return function
    try:
        signature.bind(None, None, None)
    except TypeError as error:
        raise UserError(
            f"the objective cannot be called with three arguments ({error}); {expected}"
        ) from None
    return function
