"""Acting in a latent world: by a policy that was learned in imagination, or by planning there."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyparts.agents.base import Described, refuse_prompt
from manyparts.agents.checks import require_actions, require_carry
from manyparts.agents.generators import generator_of
from manyparts.agents.noted import Reader, notes_of
from manyparts.agents.origin import Origin
from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Observation, Prompt
from manyparts.embodiment.codec import Codec, padded
from manyparts.models.dynamics.latent_context import LatentContext
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.state_space import WorldState
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.models.dynamics.teachers import Taught
from manyparts.objectives.actor_critic import ActorCritic, Advice
from manyparts.objectives.system import System
from manyparts.planners import PlannerConfig, plan
from manyparts.planners.plans import moved_on, predicted_reward


@shown_short
@dataclass(frozen=True)
class Carry:
    """The memory of a `LatentAgent`."""

    state: WorldState
    """One row: the state after the last observation."""

    action: Tensor
    """The last action (1, a), as the model reads it."""

    steps: int
    """Actions taken so far."""

    plan: Tensor | None = None
    """The last plan (t, a), if the agent plans."""

    taught: Taught | None = None
    """What teachers made of the last observation, if there are any."""

    def to_plain(self) -> dict[str, Any]:
        """Return tensors and numbers, for a checkpoint, of an agent that does not plan."""
        return {
            "recurrent": self.state.recurrent.clone(),
            "drawn": self.state.drawn.clone(),
            "action": self.action.clone(),
            "steps": self.steps,
            "taught": self.taught and _plain(self.taught),
        }

    @classmethod
    def of_plain(cls, values: Mapping[str, Any], device: torch.device | str) -> Carry:
        """Return the inverse of `to_plain`, without a plan.

        Args:
            values: What `to_plain` returned, which a checkpoint gives back on the CPU.
            device: Where the agent acts.
        """
        state = WorldState(values["recurrent"].to(device), values["drawn"].to(device))
        taught = values["taught"] and _taught(values["taught"], device)
        return cls(state, values["action"].to(device), values["steps"], taught=taught)


class LatentAgent(Described):
    """Filters what it observes, and acts by its actor or by a planner.

    The state is carried through the whole episode.

    Args:
        system: The world model, with the actor that it trained if there is one.
        codec: Of the embodiment.
        planner: What plans in the model; None: the actor acts.
        seed: Seed of exploration and of plans.

    Raises:
        UserError: There is neither an actor nor a planner.
    """

    prompted = False
    environment: Mapping[str, Any] = {}
    origin: Origin | None = None
    model: LatentWorld

    def __init__(
        self,
        system: System,
        codec: Codec,
        *,
        planner: PlannerConfig | None = None,
        seed: int = 0,
    ):
        behaviours = [each for each in system.objectives.values() if isinstance(each, ActorCritic)]
        if not behaviours and planner is None:
            raise UserError("this world model learned no policy; choose a planner to act with it")
        if planner is not None and codec.spec.action.choices:
            raise UserError(
                f"{codec.spec.embodiment} acts by choices, and planners try actions of real numbers"
            )
        self.system, self.model = system, system.model
        self.spec, self.planner, self.seed = codec.spec, planner, seed
        self._codec, self._device = codec, next(system.parameters()).device
        self._reader = Reader(self.model, codec, self._device)
        self._behaviour = behaviours[0] if behaviours else None

    def with_seed(self, seed: int) -> LatentAgent:
        """Return an agent with the same weights that draws other random numbers."""
        other = copy(self)
        other.seed = seed
        return other

    @property
    def discount(self) -> float:
        """What a reward is worth one decision later; 1 for a model without an actor."""
        return 1.0 if self._behaviour is None else self._behaviour.config.discount

    @torch.inference_mode()
    def value(self, carry: Carry) -> float:
        """Return the discounted return that the critic expects from a state on.

        Args:
            carry: What `act` returned in that state.

        Raises:
            UserError: The model learned no policy, and so no critic.
        """
        if self._behaviour is None:
            raise UserError("this world model learned no policy, and so no values")
        return float(self._behaviour.value(carry.state.features)[0])

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return True: every observation is filtered."""
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

        Without `explore` nothing is drawn: the most likely state, and the actor's mode.

        Raises:
            UserError: There is a prompt, or the observation does not fit.
        """
        refuse_prompt(prompt)
        require_carry(carry, Carry)
        steps = 0 if carry is None else carry.steps
        generator = generator_of(self.seed, steps, self._device)
        images, seen = self._reader.images(observation), self._reader.state(observation)
        state = self._filtered(carry, images, seen, generator if explore else None)
        taught = self._taught(carry, images, seen)
        planned = None
        if self.planner is not None:
            planned = self._planned(carry, state, generator)
            action = padded(planned[:1], self.model.action_dimension)
        else:
            action = self._acted(state, taught, generator, explore=explore)
        return self._executed(action), Carry(state, action, steps + 1, planned, taught)

    def notes(self, carry: Carry) -> dict[str, np.ndarray]:
        """Return what a replay is to hold of a step besides what is always recorded.

        Args:
            carry: What `act` returned.

        Returns:
            Arrays by name: with teachers, what they made of the step.
        """
        return {} if carry.taught is None else notes_of(carry.taught)

    def _executed(self, action: Tensor) -> np.ndarray:
        """Return an action (1, a) of the model in the action contract's units."""
        own = action[0, : self.spec.action.dimension]
        return self._codec.decode_action(require_actions(own.float().cpu().numpy(), self.spec))

    def _filtered(
        self,
        carry: Carry | None,
        images: Mapping[str, Tensor],
        state: Tensor,
        generator: torch.Generator | None,
    ) -> WorldState:
        """Return the state after an observation."""
        embedding = self.model.embed(images, state)
        if carry is None:
            recurrent = self.model.initial(embedding).recurrent
        else:
            recurrent = self.model.advance(carry.state.recurrent, carry.state.drawn, carry.action)
        return self.model.observed(recurrent, embedding, generator)

    def _taught(
        self, carry: Carry | None, images: Mapping[str, Tensor], state: Tensor
    ) -> Taught | None:
        """Return what the teachers make of an observation; None without teachers."""
        if not isinstance(self.model, TaughtWorld):
            return None
        before = None if carry is None else carry.taught
        action = None if carry is None else carry.action
        return self.model.teachers.observe(before, action, images, state)

    def _acted(
        self,
        state: WorldState,
        taught: Taught | None,
        generator: torch.Generator,
        *,
        explore: bool,
    ) -> Tensor:
        """Return the actor's action (1, a), as the model reads it."""
        behaviour, features = self._behaviour, state.features
        assert behaviour is not None
        advice, noise = None, None
        if taught is not None and behaviour.config.guide != "none":
            assert isinstance(self.model, TaughtWorld), type(self.model)
            relevance = self.model.relevance(features, taught.features, taught.surprise)
            advice = Advice.of(relevance)
            noise = self._guide_noise(behaviour, generator) if explore else None
        guide = None if advice is None else behaviour.guide(self.model, features, advice, noise)
        distribution = behaviour.policy(features, guide)
        return behaviour.as_input(distribution.draw(generator) if explore else distribution.mode)

    def _guide_noise(self, behaviour: ActorCritic, generator: torch.Generator) -> Tensor | None:
        """Return the noise that a guide is decoded from. generator: of the decision."""
        if behaviour.config.guide_redraw == "start":
            # The same at every decision of an episode, which has a seed of its own.
            seed = derive_seed("guide", self.seed)
            generator = torch.Generator(self._device).manual_seed(seed)
        return behaviour.guide_noise(self.model, 1, generator)

    def _planned(
        self, carry: Carry | None, state: WorldState, generator: torch.Generator
    ) -> Tensor:
        """Return a plan (t, a) from a state, which starts from what is left of the last one."""
        assert self.planner is not None
        shape = (self.planner.horizon, self.spec.action.dimension)
        start = torch.zeros(shape, device=self._device)
        if carry is not None and carry.plan is not None:
            start = moved_on(carry.plan)
        context = LatentContext(self.model, state)
        return plan(context, self.planner, generator, start, objective=predicted_reward).action


def _plain(taught: Taught) -> dict[str, Any]:
    """What teachers made of a step, as tensors."""
    return {
        "recurrent": [state.recurrent.clone() for state in taught.states],
        "drawn": [state.drawn.clone() for state in taught.states],
        "features": taught.features.clone(),
        "surprise": taught.surprise.clone(),
    }


def _taught(values: Mapping[str, Any], device: torch.device | str) -> Taught:
    """The inverse of `_plain`, on a device."""
    states = tuple(
        WorldState(recurrent.to(device), drawn.to(device))
        for recurrent, drawn in zip(values["recurrent"], values["drawn"], strict=True)
    )
    return Taught(states, values["features"].to(device), values["surprise"].to(device))
