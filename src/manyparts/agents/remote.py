"""An agent behind a socket, in any program that speaks openpi's protocol."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manyparts.agents.base import Described
from manyparts.agents.checks import image_of, numbers_of, require_carry
from manyparts.agents.server import Connection, Remote, Server
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import printable
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec

_MAX_ACTIONS = 10_000  # of an answer
_OWN_KEYS = ("prompt", "session_id", "seed", "endpoint")  # of a request, besides what is observed


class RemoteAgent(Described):
    """Asks a server for its actions, and takes all of an answer before it asks again.

    It keeps one connection. A server of this library is told where an episode begins. Any other
    gets a new connection for each episode, since its memory, if it has one, is the connection's.

    Args:
        remote: Where it is, and what it does not say of itself.
        spec: The robot to act for.

    Raises:
        UserError: Nobody answers, or the server's agent is for another robot, or it does not say
            for which.
    """

    def __init__(self, remote: Remote, spec: Spec) -> None:
        self.remote, self.spec, self.seed = remote, spec, 0
        self._connection = Connection(remote)
        self.server = self._connection.server()
        self._keys = self._keys_of(self.server)
        self._require_fit(self.server)
        self._require_distinct_keys()
        self.prompted = not self.server.is_own or bool(self.server.prompts)

    def with_seed(self, seed: int) -> RemoteAgent:
        """Return an agent that asks a server of this library to draw other random numbers."""
        other = copy(self)
        other.seed = seed
        return other

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return whether the last answer is used up."""
        return carry is None or not carry.planned

    def act(
        self,
        carry: Carry | None,
        observation: Observation | None,
        prompt: Prompt | str | None = None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, Carry]:
        """See `agents.base.Agent`. A server remembers its episodes: a carry can be used once.

        Raises:
            UserError: The server refuses the request, or its answer does not fit the robot; or
                asked to explore.
        """
        require_carry(carry, Carry)
        if explore:
            raise UserError(f"{self.remote.url} acts as it does, and cannot be asked to explore")
        if carry is None:
            carry = self._begun()
        if not carry.planned:
            request = self._request(carry, observation, Prompt.of(prompt))
            carry = replace(carry, planned=self._answered(request), answers=carry.answers + 1)
        action, *planned = carry.planned
        return action, replace(carry, planned=tuple(planned))

    def _begun(self) -> Carry:
        if not self.server.is_own:
            self._connection.renew()
        return Carry(uuid.uuid4().hex)

    def _request(
        self, carry: Carry, observation: Observation | None, prompt: Prompt | None
    ) -> dict[str, Any]:
        spec = self.spec
        request: dict[str, Any] = {
            key: image_of(observation, camera, spec.cameras[camera])
            for camera, key in self._keys.items()
        }
        if (state := self._state_key()) is not None:
            numbers = numbers_of(observation, spec.state_dimension)
            request[state] = numbers.astype(np.float32)
        if prompt is not None and self.prompted:
            request["prompt"] = prompt.instruction or ""
            for camera, image in (prompt.goal or {}).items():
                request[f"goal/{camera}"] = image
            if prompt.demonstration is not None:
                raise UserError(f"demonstrations are not sent to {self.remote.url}")
        if self.server.is_own:
            request |= {"session_id": carry.episode, "seed": self.seed}
        return request

    def _answered(self, request: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
        """The actions of the answer to a request."""
        url, contract = self.remote.url, self.spec.action
        answer = self._connection.asked(request)
        if isinstance(answer, Mapping) and (why := answer.get("hold")):
            raise UserError(
                f"{url} holds the robot instead of acting ({printable(str(why)[:200])}): what "
                "follows would not be its agent's; serve it without --deadline-ms, or with more"
            )
        actions = answer.get("actions") if isinstance(answer, Mapping) else None
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "fiu":
            raise UserError(f"{url} answered without an array `actions`")
        if actions.ndim == 1:
            actions = actions[None]
        if actions.ndim != 2 or actions.shape[1] != contract.dimension or not len(actions):
            raise UserError(
                f"{url} answered with actions of {actions.shape}; expected rows of "
                f"{contract.dimension}"
            )
        if not np.isfinite(actions).all():
            raise UserError(f"{url} answered with actions that are not finite")
        return tuple(contract.executed(actions[:_MAX_ACTIONS]))

    def _state_key(self) -> str | None:
        if not self.spec.state_dimension:
            return None
        own = "observation/state" if self.server.is_own else None
        return self.remote.state or own

    def _keys_of(self, server: Server) -> dict[str, str]:
        """The key of each camera's image in a request."""
        if not self.remote.images:
            names = self.spec.cameras if server.is_own else ()
            return {name: name if "/" in name else f"observation/{name}" for name in names}
        for camera in self.remote.images:
            if camera not in self.spec.cameras:
                near = closest(camera, self.spec.cameras)
                raise UserError(f"--remote.images names the camera {camera!r}; {near}")
        return dict(self.remote.images)

    def _require_distinct_keys(self) -> None:
        """Raise UserError if one entry of a request would hold two things."""
        state = self._state_key()
        keys = [*self._keys.values(), *([] if state is None else [state]), *_OWN_KEYS]
        twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
        if twice:
            raise UserError(
                f"--remote.images and --remote.state give {twice[0]!r} to two things; each image, "
                f"the state and {', '.join(_OWN_KEYS)} need keys of their own"
            )

    def _require_fit(self, server: Server) -> None:
        """Raise UserError unless the server's agent is for this robot."""
        url, contract = self.remote.url, self.remote.action
        if server.spec is None and not (self.remote.images and contract is not None):
            raise UserError(
                f"{url} ({server.name}) does not say which robot it acts for; say it with "
                "--remote.images CAMERA=KEY ..., --remote.state KEY and --remote.action "
                "CONTRACT.json"
            )
        if contract is not None:
            differences = replace(self.spec, action=contract).differences(self.spec)
        else:
            assert server.spec is not None
            # What a goal's image shows says nothing of the robot.
            own = replace(self.spec, goal_camera=None)
            differences = server.spec.bounded_as(own).differences(own)
        if differences:
            raise UserError(f"{url} acts for another robot: {'; '.join(differences[:3])}")


@dataclass(frozen=True)
class Carry:
    """The memory of a `RemoteAgent`."""

    episode: str
    """Its name, which a server of this library tells episodes apart by."""

    planned: tuple[np.ndarray, ...] = ()
    """Actions of the last answer that are still to come, (a,) each."""

    answers: int = 0
    """Answers so far."""
