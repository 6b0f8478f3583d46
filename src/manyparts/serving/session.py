"""One client's episode: what an agent remembers of it, and its answer to the next observation."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manyparts.agents.base import ActingTogether, Agent, Replanning, Situation
from manyparts.agents.checks import numbers_of, pixels_of
from manyparts.core.errors import UserError
from manyparts.core.records import Demonstration, Observation, Prompt
from manyparts.core.spec import Spec
from manyparts.serving.safety import Guard

_MAX_INSTRUCTION = 2000  # letters


@dataclass(frozen=True)
class Request:
    """What a client shows and asks for, in either dialect."""

    images: Mapping[str, np.ndarray]
    """Camera to its image, unchecked."""

    state: Any = None
    """The state, unchecked; None if there is none."""

    prompt: Prompt | None = None
    """What it asks for."""

    executed: int | None = None
    """How many of the last answer's actions were carried out; None: all."""

    episode: str | None = None
    """The client's name of the episode; another one starts the memory again."""

    seed: int | None = None
    """Seed of what the agent draws in this episode."""

    @property
    def observation(self) -> Observation:
        """What the agent reads, once the request is checked."""
        return {"images": dict(self.images), "state": self.state}

    def checked(self, spec: Spec) -> Request:
        """Return the request of a robot, with images uint8 (h, w, 3) and a state float32 (s,).

        Args:
            spec: The robot's.

        Raises:
            UserError: An image or the state is of another type or shape, or a number is not finite.
        """
        images = {
            camera: pixels_of(self.images[camera], f"camera {camera!r}", (*size, 3))
            for camera, size in spec.cameras.items()
        }
        state = np.zeros(0, np.float32)
        if spec.state_dimension:
            if self.state is None:
                raise UserError("the request has no state")
            numbers = numbers_of({"state": self.state}, spec.state_dimension)
            with np.errstate(over="ignore"):
                state = numbers.astype(np.float32)
            if not np.isfinite(state).all():
                raise UserError("the request has a state with numbers that are not finite")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UserError(f"the request's seed is {self.seed}; expected 0 to 2**63 - 1")
        return replace(self, images=images, state=state)


@dataclass(frozen=True)
class Memory:
    """What is known of an episode. It is never changed in place: a late answer leaves it as it
    was."""

    carries: tuple[Any, ...] = (None,)
    """The agent's memory before the last answer, and after each of its actions."""

    sent: np.ndarray | None = None
    """The actions of the last answer, float32 (T, a)."""

    before: np.ndarray | None = None
    """The last action before them that was carried out, (a,)."""

    prompt: Prompt | None = None
    """What the episode is asked for."""

    episode: str | None = None
    """The client's name of the episode."""

    seed: int | None = None
    """Seed of what the agent draws."""

    @property
    def last(self) -> np.ndarray | None:
        """The last action that was carried out or is about to be, (a,)."""
        return self.before if self.sent is None else self.sent[-1]


@dataclass(frozen=True)
class Answer:
    """What a client gets."""

    actions: np.ndarray
    """float32 (T, a), in the contract's units and within its bounds."""

    memory: Memory
    """The memory after it."""

    milliseconds: float = 0.0
    """How long the agent took."""

    held: str = ""
    """Why the robot is held still instead of acting; empty if it acts."""

    limited: bool = False
    """Whether actions were too far from each other and were brought nearer."""


@dataclass(frozen=True)
class _Begun:
    """What a request is decided from."""

    memory: Memory
    """The memory of its episode, with what the client says of its last actions."""
    agent: Agent
    """Who acts, with the episode's seed."""
    situation: Situation
    """What it decides from."""


def instruction_of(text: Any, name: str) -> str | None:
    """Return an instruction that a client sent; None where it says nothing.

    Args:
        text: Unchecked.
        name: What the client calls it, for the error.

    Raises:
        UserError: It is no text, or a very long one.
    """
    if not isinstance(text, str | None):
        raise UserError(f"the request's {name} is a {type(text).__name__}; expected text")
    if text is not None and len(text) > _MAX_INSTRUCTION:
        raise UserError(f"the request's {name} has {len(text)} letters; at most {_MAX_INSTRUCTION}")
    return text if text and text.strip() else None


class Conversation:
    """Answers the requests of clients, one at a time.

    Args:
        agent: Who acts.
        guard: Checks every action.
        actions: Actions of an answer at most; None: as many as the agent plans at once.
        held: Actions of an answer that holds the robot: as many as clients count on.
    """

    def __init__(
        self, agent: Agent, guard: Guard, actions: int | None = None, *, held: int = 1
    ) -> None:
        if actions is not None and actions < 1:
            raise UserError(f"--actions is {actions}; expected at least 1")
        self.agent, self._guard, self._actions, self._held = agent, guard, actions, held

    def answers(self, asked: Sequence[tuple[Request, Memory]]) -> list[Answer | UserError]:
        """Return the agent's answers, or why a request has none.

        Several requests are decided together, if the agent can.

        Args:
            asked: Checked requests, each with the memory of its episode.
        """
        start = time.perf_counter()
        begun = [self._begun(request, memory) for request, memory in asked]
        sound = [each for each in begun if isinstance(each, _Begun)]
        decided = iter(self._decided(sound))
        results: list[Answer | UserError] = []
        for each in begun:
            if isinstance(each, UserError):
                results.append(each)
            else:
                first = next(decided)
                results.append(
                    first if isinstance(first, UserError) else self._finished(each, *first, start)
                )
        return results

    def _begun(self, request: Request, memory: Memory) -> _Begun | UserError:
        """What a request is decided from."""
        try:
            memory = self._continued(request, memory)
            prompt = _same_prompt(request.prompt, memory.prompt) if self.agent.prompted else None
            agent = self._seeded(memory.seed)
        except UserError as error:
            return error
        return _Begun(memory, agent, Situation(memory.carries[-1], request.observation, prompt))

    def _decided(self, begun: Sequence[_Begun]) -> list[tuple[np.ndarray, Any] | UserError]:
        """The first action of each answer, and the agent's memory after it."""
        agent = self.agent
        several = len(begun) > 1 and all(each.agent is agent for each in begun)
        if several and isinstance(agent, ActingTogether):
            # One observation that does not fit must not cost the others their answer.
            with contextlib.suppress(UserError):
                return [*agent.act_together([each.situation for each in begun])]
        return [_first(each) for each in begun]

    def _finished(
        self, begun: _Begun, action: np.ndarray, carry: Any, start: float
    ) -> Answer | UserError:
        """The answer with a first action, and those that were planned with it."""
        memory, prompt = begun.memory, begun.situation.prompt
        actions, carries = [action], [memory.carries[-1], carry]
        try:
            while not (self._is_full(actions) or begun.agent.needs_observation(carry)):
                action, carry = begun.agent.act(carry, None, prompt, explore=False)
                actions.append(action)
                carries.append(carry)
            seen = begun.situation.observation
            state = None if seen is None else seen["state"]
            checked = self._guard.checked(np.stack(actions), memory.last, state)
        except UserError as error:
            return error
        after = replace(
            memory,
            carries=tuple(carries),
            sent=checked.actions,
            before=memory.last,
            prompt=prompt,
        )
        milliseconds = 1000 * (time.perf_counter() - start)
        return Answer(checked.actions, after, milliseconds, limited=checked.changed)

    def hold(self, request: Request, memory: Memory, why: str) -> Answer | None:
        """Return an answer that keeps the robot where it is; None if nobody knows how.

        What was planned is dropped.

        Args:
            request: The client's, checked.
            memory: Of its episode.
            why: The reason.

        Raises:
            UserError: More actions were carried out than were sent.
        """
        # Without it, the last target may be one that the robot never moved to.
        memory = self._continued(request, memory)
        action = self._guard.hold(request.state, memory.last)
        if action is None:
            return None
        carry = self._dropped(memory.carries[-1])
        actions = np.repeat(action[None], self._held, axis=0)
        carries = (carry,) * (self._held + 1)
        after = replace(memory, carries=carries, sent=actions, before=memory.last)
        return Answer(actions, after, held=why)

    def _continued(self, request: Request, memory: Memory) -> Memory:
        """The memory with what the client says of its last actions."""
        if request.episode is not None and request.episode != memory.episode:
            return Memory(episode=request.episode, seed=request.seed)
        if request.seed is not None and memory.sent is None:
            memory = replace(memory, seed=request.seed)
        count = request.executed
        if count is not None and count < 0:
            raise UserError(f"executed is {count}; it counts actions")
        if count is None or memory.sent is None:
            return memory
        if count > len(memory.sent):
            raise UserError(f"executed is {count}; the last answer had {len(memory.sent)} actions")
        if count == len(memory.sent):
            return memory
        carry = memory.carries[count]
        # Before the first action nothing is planned.
        carry = self._dropped(carry) if count else carry
        sent = memory.sent[:count] if count else None
        return replace(memory, carries=(carry,), sent=sent)

    def _dropped(self, carry: Any) -> Any:
        if carry is None or not isinstance(self.agent, Replanning):
            return carry
        return self.agent.replanned(carry)

    def _seeded(self, seed: int | None) -> Agent:
        """The agent that draws from a seed, if it draws at all."""
        with_seed = getattr(self.agent, "with_seed", None)
        return self.agent if seed is None or with_seed is None else with_seed(seed)

    def _is_full(self, actions: list[np.ndarray]) -> bool:
        return self._actions is not None and len(actions) >= self._actions


def _first(begun: _Begun) -> tuple[np.ndarray, Any] | UserError:
    """The first action of an answer, and the agent's memory after it."""
    carry, observation, prompt = (
        begun.situation.carry,
        begun.situation.observation,
        begun.situation.prompt,
    )
    try:
        return begun.agent.act(carry, observation, prompt, explore=False)
    except UserError as error:
        return error


def _same_prompt(prompt: Prompt | None, before: Prompt | None) -> Prompt | None:
    """The prompt before, if the new one says and shows the same: agents compare images by identity,
    and another prompt starts their memory again."""
    if prompt is None or before is None or prompt.instruction != before.instruction:
        return prompt
    if not _equal_images(prompt.goal, before.goal):
        return prompt
    one, other = prompt.demonstration, before.demonstration
    return before if _equal_demonstrations(one, other) else prompt


def _equal_demonstrations(one: Demonstration | None, other: Demonstration | None) -> bool:
    if one is None or other is None:
        return one is other
    if (one.action is None) != (other.action is None):
        return False
    actions = one.action is None or np.array_equal(one.action, np.asarray(other.action))
    return actions and _equal_images(one.images, other.images)


def _equal_images(
    one: Mapping[str, np.ndarray] | None, other: Mapping[str, np.ndarray] | None
) -> bool:
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(
        np.array_equal(image, other[name]) for name, image in one.items()
    )
