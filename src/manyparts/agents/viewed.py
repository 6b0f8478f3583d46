"""An agent that sees a robot through the view that it was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manyparts.agents.base import (
    ActingTogether,
    Agent,
    Described,
    Replanning,
    Seeded,
    Situation,
    refuse_prompt,
)
from manyparts.agents.checks import image_of, numbers_of, require_carry
from manyparts.core.printing import shown_short
from manyparts.core.records import Demonstration, Observation, Prompt
from manyparts.core.spec import Spec
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.views.source import Source

if TYPE_CHECKING:  # they need torch, which an exported agent does without
    from manyparts.agents.origin import Origin


@shown_short
@dataclass(frozen=True)
class Carry:
    """The memory of a `ViewedAgent`."""

    inner: Any
    """That of the agent inside."""

    source: Source
    """The way in which the robot of this episode is seen."""

    prompt: Prompt | None
    """The prompt as it was given."""

    seen_prompt: Prompt | None
    """The prompt as the model sees it."""

    action: np.ndarray
    """The last action, float32 (a,), of the robot."""

    held: int
    """Steps for which that action is still to be held."""


@dataclass(frozen=True, eq=False)
class SeenAs:
    """How an agent sees its robot. Compared by identity, so that it can be the key of a cache."""

    source: Source
    """The robot and the view of it."""

    spec: Spec
    """What the model sees."""


class ViewedAgent(Described):
    """Takes observations of the robot, shows them to an agent through a view, and carries out what
    it decides: actions are converted back, and held where the view leaves out frames.

    Images may have the robot's size or the model's, and a prompt's likewise. The actions of a
    demonstration are those that the model sees.

    Args:
        agent: Takes what the model sees.
        embodiment: What it acts for, which has a source at least.
    """

    def __init__(self, agent: Agent, embodiment: Embodiment):
        self.agent, self.sources = agent, embodiment.sources
        self.seen_as = SeenAs(embodiment.sources[0], agent.spec)
        self.spec, self.prompted = embodiment.sources[0].spec, agent.prompted
        self.environment: Mapping[str, Any] = embodiment.environment
        self.origin: Origin | None = None

    def with_seed(self, seed: int) -> ViewedAgent:
        """Return an agent with the same weights that draws other random numbers."""
        return self.around(self.agent.with_seed(seed)) if isinstance(self.agent, Seeded) else self

    def around(self, agent: Agent) -> ViewedAgent:
        """Return an agent that shows the robot in the same way to another agent.

        Args:
            agent: Takes what the agent inside takes.
        """
        other = copy(self)
        other.agent = agent
        return other

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return whether the agent inside needs it, or the robot to carry out an action from it."""
        if carry is None:
            return True
        if carry.held:
            return False
        return carry.source.needs_state or self.agent.needs_observation(carry.inner)

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
            UserError: The observation or the prompt does not fit the robot.
        """
        situation = Situation(carry, observation, self._taken(carry, prompt))
        if (held := self._held(situation)) is not None:
            return held
        source, seen = self._seen(situation)
        decided, inner = self.agent.act(seen.carry, seen.observation, seen.prompt, explore=explore)
        return self._carried_out(situation, source, seen, decided, inner)

    def act_together(self, situations: Sequence[Situation]) -> list[tuple[np.ndarray, Carry]]:
        """See `agents.base.ActingTogether`.

        Raises:
            UserError: See `act`.
        """
        situations = [
            replace(each, prompt=self._taken(each.carry, each.prompt)) for each in situations
        ]
        results = [self._held(each) for each in situations]
        rows = [row for row, held in enumerate(results) if held is None]
        seen = [self._seen(situations[row]) for row in rows]
        inside = [inner for _, inner in seen]
        if isinstance(self.agent, ActingTogether):
            decided = self.agent.act_together(inside)
        else:
            decided = [
                self.agent.act(each.carry, each.observation, each.prompt, explore=False)
                for each in inside
            ]
        for row, (source, inner), (action, carry) in zip(rows, seen, decided, strict=True):
            results[row] = self._carried_out(situations[row], source, inner, action, carry)
        return [result for result in results if result is not None]

    def _taken(self, carry: Carry | None, prompt: Prompt | str | None) -> Prompt | None:
        """Return a prompt, if this agent takes it after such a carry."""
        require_carry(carry, Carry)
        prompt = Prompt.of(prompt)
        if not self.prompted:
            refuse_prompt(prompt)
        return prompt

    def _held(self, situation: Situation) -> tuple[np.ndarray, Carry] | None:
        """Return the last action again where it is to be held; None where one is decided."""
        carry = situation.carry
        if carry is None or carry.prompt != situation.prompt or not carry.held:
            return None
        return carry.action, replace(carry, held=carry.held - 1)

    def _seen(self, situation: Situation) -> tuple[Source, Situation]:
        """Return how the robot is seen, and what the agent inside decides from."""
        carry, observation, prompt = situation.carry, situation.observation, situation.prompt
        source = self._source_of(observation) if carry is None else carry.source
        if carry is not None and carry.prompt == prompt:
            seen_prompt = carry.seen_prompt
        else:
            seen_prompt = self._seen_prompt(source, prompt)
        seen = None if observation is None else self.seen(observation, source)
        return source, Situation(None if carry is None else carry.inner, seen, seen_prompt)

    def _carried_out(
        self, situation: Situation, source: Source, seen: Situation, decided: np.ndarray, inner: Any
    ) -> tuple[np.ndarray, Carry]:
        """Return the robot's action for a decision of the agent inside, and the new memory."""
        state = None
        if source.needs_state:
            state = numbers_of(situation.observation, source.spec.state_dimension)
        action = source.action_of(decided, state)
        held = source.view.every - 1
        return action, Carry(inner, source, situation.prompt, seen.prompt, action, held)

    def replanned(self, carry: Carry) -> Carry:
        """See `agents.base.Replanning`."""
        inner = carry.inner
        if isinstance(self.agent, Replanning):
            inner = self.agent.replanned(inner)
        return replace(carry, inner=inner, held=0)

    def seen(self, observation: Observation, source: Source | None = None) -> Observation:
        """Return what the model sees of an observation.

        Args:
            observation: Of the robot.
            source: The way in which it is seen; None: that which fits its images.

        Raises:
            UserError: An image or the state does not fit the robot.
        """
        source = self._source_of(observation) if source is None else source
        images = {
            camera: self._image(observation, source, camera) for camera in self.agent.spec.cameras
        }
        dimension = source.spec.state_dimension
        state = np.zeros(0, np.float32)
        if dimension:
            state = source.states(numbers_of(observation, dimension)[None])[0]
        return {"images": images, "state": state}

    def _source_of(self, observation: Observation | None) -> Source:
        """Return the first source with cameras of the observation's names and sizes, or else the
        first of all, with which an error then says what does not fit."""
        images = observation.get("images") if isinstance(observation, Mapping) else None
        if isinstance(images, Mapping):
            shapes = {name: np.shape(image)[:2] for name, image in images.items()}
            for source in self.sources:
                wanted = {name: source.spec.cameras[name] for name in source.cameras.values()}
                if wanted.items() <= shapes.items():
                    return source
        return self.sources[0]

    def _image(self, observation: Observation, source: Source, camera: str) -> np.ndarray:
        """Return what the model sees of a camera of the robot's size, or of its own."""
        images = observation.get("images") if isinstance(observation, Mapping) else None
        if isinstance(images, Mapping) and self._is_seen(source, images):
            return image_of(observation, camera, self.agent.spec.cameras[camera])
        theirs = source.cameras[camera]
        return source.images(camera, image_of(observation, theirs, source.spec.cameras[theirs]))

    def _is_seen(self, source: Source, images: Mapping[str, Any]) -> bool:
        """Return whether images are those that the model sees, and not those of the robot."""
        robots = {name: source.spec.cameras[name] for name in source.cameras.values()}
        sizes = {name: np.shape(image)[-3:-1] for name, image in images.items()}
        fits_robot = robots.items() <= sizes.items()
        return not fits_robot and self.agent.spec.cameras.items() <= sizes.items()

    def _seen_prompt(self, source: Source, prompt: Prompt | None) -> Prompt | None:
        """Return a prompt with images as the model sees them."""
        if prompt is None or (prompt.goal is None and prompt.demonstration is None):
            return prompt
        goal, shown = prompt.goal, prompt.demonstration
        if goal is not None:
            goal = self._seen_images(source, goal)
        if isinstance(shown, Demonstration):
            shown = replace(shown, images=self._seen_images(source, shown.images))
        return replace(prompt, goal=goal, demonstration=shown)

    def _seen_images(
        self, source: Source, images: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Return images by the model's names of cameras.

        Where none fits, they stay as they are, and the agent inside says what it expects.
        """
        if self._is_seen(source, images):
            return images
        seen = {
            camera: source.images(camera, np.asarray(images[theirs]))
            for camera, theirs in source.cameras.items()
            if theirs in images and np.shape(images[theirs])[-3:-1] == source.spec.cameras[theirs]
        }
        return seen or images


def unviewed(agent: Any) -> Any:
    """Return the agent inside a `ViewedAgent`; any other as it is."""
    return agent.agent if isinstance(agent, ViewedAgent) else agent


def seen_as(agent: Any) -> SeenAs | None:
    """Return how a `ViewedAgent` sees its robot; None for any other agent."""
    return agent.seen_as if isinstance(agent, ViewedAgent) else None
