"""What every agent is: a function of its memory, what it sees and its prompt."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec


@runtime_checkable
class Agent(Protocol):
    """All memory is in `carry`, one a slot: an agent never knows how many environments run beside
    it.

    spec: the embodiment it acts for. prompted: whether `act` needs a prompt.
    """

    spec: Spec
    prompted: bool

    def needs_observation(self, carry: Any) -> bool:
        """Whether the next `act` looks at its observation; False while a planned chunk of actions
        is executed."""
        ...

    def act(
        self, carry: Any, observation: Observation | None, prompt: Prompt | None, *, explore: bool
    ) -> tuple[np.ndarray, Any]:
        """The next action, float32 (a,) in the action contract's units, and the new carry.

        `carry` is None at an episode's start and is never changed in place. explore: sample instead
        of the mode.
        """
        ...


class Described:
    """Gives an agent a short `repr`."""

    spec: Spec
    prompted: bool

    def __repr__(self) -> str:
        origin = getattr(self, "origin", None)
        loaded = "" if origin is None else f"{str(origin.run)!r}: "
        prompts = "prompted" if self.prompted else "takes no prompts"
        return f"{type(self).__name__}({loaded}{self.spec.summary()}; {prompts})"


def refuse_prompt(prompt: Prompt | str | None) -> None:
    """Raises UserError for any prompt, in an agent that takes none."""
    if (refused := Prompt.of(prompt)) is not None:
        raise UserError(
            f"prompt {refused.instruction!r} given to an unprompted agent, which takes none"
        )
