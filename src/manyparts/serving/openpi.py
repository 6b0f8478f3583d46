"""openpi's protocol: the server describes itself, then each observation gets a chunk of actions.

openpi-client 0.1.2 and other clients of openpi's websocket_policy_server speak it. Beyond it, a
request may have the keys `executed`, `session_id` or `episode_id`, `seed`, and images of a prompt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.messages import MessageError, pack, unpack
from manyparts.core.printing import first_of, printable
from manyparts.core.records import Demonstration, Prompt
from manyparts.core.spec import Spec
from manyparts.serving.link import Link
from manyparts.serving.session import Answer, Memory, Request, instruction_of

OBSERVATION, GOAL, DEMONSTRATION = "observation/", "goal/", "demonstration/"
STATE, PROMPT, ENDPOINT = "observation/state", "prompt", "endpoint"
ACTIONS = "actions"  # also of a demonstration
_SHOWN = 5  # keys in an error


async def converse(link: Link) -> None:
    """Talk to one client until it goes away, or sends what cannot be answered.

    Args:
        link: To the client.
    """
    description = link.service.description
    await link.send(pack(description.for_openpi(), "openpi"))
    memory, total = Memory(), None
    async for data in link.messages():
        start = time.perf_counter()
        try:
            if isinstance(data, str):
                raise MessageError("the message is text; expected MessagePack")
            message = await asyncio.to_thread(unpack, data, link.limits)
            if endpoint_of(message) == "reset":
                memory = Memory()
                link.ended()
                await link.send("reset successful")
                continue
            request = request_of(message, description.spec)
            answer = await link.answer(request, memory)
        except UserError as error:
            # A client of openpi's takes a text for an error, and must then hold its robot.
            await link.refuse(error)
            return
        memory = answer.memory
        await link.send(pack(_reply(answer, total), "openpi"))
        total = 1000 * (time.perf_counter() - start)


def endpoint_of(message: Any) -> Literal["infer", "reset"]:
    """Return what a message asks for.

    Args:
        message: As it was unpacked, unchecked.

    Raises:
        MessageError: It is no mapping, or asks for something else.
    """
    if not isinstance(message, Mapping):
        raise MessageError(f"the message is a {type(message).__name__}; expected a mapping")
    endpoint = message.get(ENDPOINT, "infer")
    if not isinstance(endpoint, str):
        raise MessageError(f"endpoint is a {type(endpoint).__name__}; choices: infer, reset")
    if endpoint in ("infer", "reset"):
        return endpoint
    raise MessageError(f"endpoint is {endpoint[:40]!r}; choices: infer, reset")


def request_of(message: Mapping[Any, Any], spec: Spec) -> Request:
    """Return the request in a message, checked.

    Args:
        message: As it was unpacked, unchecked.
        spec: The robot's.

    Raises:
        UserError: An image is missing, or an entry does not fit the robot.
    """
    names = [OBSERVATION + camera if "/" not in camera else camera for camera in spec.cameras]
    missing = [name for name in names if not isinstance(message.get(name), np.ndarray)]
    if missing:
        if missing[0] in message:
            what = type(message[missing[0]]).__name__
            raise UserError(f"the request's {missing[0]} is a {what}; expected an array")
        present = first_of([printable(str(key)[:60]) for key in message], _SHOWN) or "nothing"
        raise UserError(f"the request has no image {missing[0]} (it has {present})")
    images = {camera: message[name] for camera, name in zip(spec.cameras, names, strict=True)}
    episode = message.get("session_id", message.get("episode_id"))
    return Request(
        images=images,
        state=message.get(STATE),
        prompt=_prompt(message),
        executed=_whole(message, "executed"),
        episode=None if episode is None else str(episode)[:200],
        seed=_whole(message, "seed"),
    ).checked(spec)


def _prompt(message: Mapping[Any, Any]) -> Prompt | None:
    text = instruction_of(message.get(PROMPT), PROMPT)
    goal = _arrays(message, GOAL)
    shown = _arrays(message, DEMONSTRATION)
    actions = shown.pop(ACTIONS, None)
    if text is None and not goal and not shown:
        return None
    demonstration = Demonstration(shown, actions) if shown else None
    return Prompt(text, goal or None, demonstration)


def _arrays(message: Mapping[Any, Any], prefix: str) -> dict[str, np.ndarray]:
    arrays = {
        key.removeprefix(prefix): value
        for key, value in message.items()
        if isinstance(key, str) and key.startswith(prefix)
    }
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray):
            what = printable((prefix + name)[:60])
            raise UserError(f"the request's {what} is a {type(value).__name__}; expected an array")
    return arrays


def _whole(message: Mapping[Any, Any], name: str) -> int | None:
    value = message.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UserError(f"the request's {name} is a {type(value).__name__}; expected a number")
    return int(value)


def _reply(answer: Answer, total: float | None) -> dict[str, Any]:
    timing = {"infer_ms": answer.milliseconds}
    if total is not None:
        timing["prev_total_ms"] = total
    reply: dict[str, Any] = {ACTIONS: answer.actions, "server_timing": timing}
    return reply | ({"hold": answer.held} if answer.held else {})
