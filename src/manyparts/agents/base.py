"""What every agent is: a function of its memory, its observation and its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec

if TYPE_CHECKING:
    from manyparts.data.sampling.config import WindowConfig


@runtime_checkable
class Agent(Protocol):
    """Something that acts.

    All memory is in `carry`, one per environment, so an agent does not know how many environments
    run in parallel.
    """

    spec: Spec
    """The embodiment that it acts for."""

    prompted: bool
    """Whether `act` needs a prompt."""

    def needs_observation(self, carry: Any) -> bool:
        """Return whether the next `act` looks at its observation.

        It does not while a planned chunk of actions is executed.
        """
        ...

    def act(
        self, carry: Any, observation: Observation | None, prompt: Prompt | None, *, explore: bool
    ) -> tuple[np.ndarray, Any]:
        """Return the next action, float32 (a,) in the action contract's units, and the new carry.

        Args:
            carry: What `act` returned at the step before; None at an episode's start. It is never
                changed in place.
            observation: The current observation; it may be None where `needs_observation` is False.
            prompt: The task, for a prompted agent.
            explore: Sample actions instead of taking the most likely ones.
        """
        ...


@runtime_checkable
class Replanning(Protocol):
    """An agent that plans several actions at once, and can be asked for other ones before they are
    all carried out."""

    def replanned(self, carry: Any) -> Any:
        """Return a memory of what was done so far, without what was planned. The next `act` looks
        at its observation.

        Args:
            carry: What `act` returned.
        """
        ...


@dataclass(frozen=True)
class Situation:
    """What an agent decides from, in one of several episodes."""

    carry: Any
    """Its memory of the episode; None at the start."""

    observation: Observation | None
    """The current observation."""

    prompt: Prompt | None = None
    """The task, for a prompted agent."""


@runtime_checkable
class ActingTogether(Protocol):
    """An agent that decides for several episodes in one pass."""

    def act_together(self, situations: Sequence[Situation]) -> list[tuple[np.ndarray, Any]]:
        """Return what `act` returns for each, without exploring.

        Numbers may differ in rounding from those of `act`.

        Args:
            situations: One for each episode.
        """
        ...


@runtime_checkable
class Seeded(Protocol):
    """An agent that draws random numbers when it acts at its best."""

    def with_seed(self, seed: int) -> Any:
        """Return an agent with the same weights that draws other random numbers.

        Args:
            seed: Of what it draws.
        """
        ...


@runtime_checkable
class Windowed(Protocol):
    """An agent that learned from windows of episodes."""

    window: WindowConfig
    """The windows, which say what its prompts may show."""


class Described:
    """A mixin that gives an agent a short `repr`."""

    spec: Spec
    prompted: bool

    def __repr__(self) -> str:
        origin = getattr(self, "origin", None)
        loaded = "" if origin is None else f"{str(origin.run)!r}: "
        prompts = "prompted" if self.prompted else "takes no prompts"
        return f"{type(self).__name__}({loaded}{self.spec.summary()}; {prompts})"


def refuse_prompt(prompt: Prompt | str | None) -> None:
    """Raise UserError for any prompt, in an agent that takes none."""
    if (refused := Prompt.of(prompt)) is not None:
        raise UserError(
            f"prompt {refused.instruction!r} given to an unprompted agent, which takes none; "
            "pass None"
        )
