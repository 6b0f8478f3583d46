"""vla-eval's protocol: the client says hello, and begins and ends episodes by messages.

An error leaves the connection and the episode as they are. A path that a client sends with an
episode is never opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.messages import MessageError, pack, unpack
from manyparts.core.printing import first_of, printable
from manyparts.core.records import Prompt
from manyparts.core.spec import Spec
from manyparts.serving.link import Link
from manyparts.serving.session import Memory, Request, instruction_of

_STATES = ("state", "states")
_SHOWN = 5  # names in an error
_TYPES = ("hello", "episode_start", "observation", "episode_end", "error")


async def converse(link: Link) -> None:
    """Talk to one client until it goes away.

    Args:
        link: To the client.
    """
    memory = Memory()
    async for data in link.messages():
        sequence = 0
        try:
            if isinstance(data, str):
                raise MessageError("the message is text; expected MessagePack")
            message = await asyncio.to_thread(unpack, data, link.limits)
            kind, payload, sequence = parts_of(message)
            if kind == "hello":
                reply = link.service.description.for_vla_eval()
                await link.send(_packed("hello", reply, sequence))
            elif kind in ("episode_start", "episode_end"):
                memory = Memory()
                link.ended()
            elif kind == "observation":
                request = request_of(payload, link.service.description.spec)
                answer = await link.answer(request, memory)
                memory = answer.memory
                reply = {"actions": answer.actions}
                reply |= {"hold": answer.held} if answer.held else {}
                await link.send(_packed("action", reply, sequence))
        except MessageError as error:
            # What cannot be read has no number that a client could wait for.
            await link.send(_packed("error", {"error": _line(error)}, sequence))
            await link.refuse(error, text=False)
            return
        except UserError as error:
            link.count_refused()
            await link.send(_packed("error", {"error": _line(error)}, sequence))


def request_of(payload: Mapping[Any, Any], spec: Spec) -> Request:
    """Return the request in an observation, checked.

    Args:
        payload: Of the message, unchecked.
        spec: The robot's.

    Raises:
        UserError: An image is missing, or an entry does not fit the robot.
    """
    images = payload.get("images")
    images = images if isinstance(images, Mapping) else {}
    for camera in spec.cameras:
        if not isinstance(images.get(camera), np.ndarray):
            present = first_of([printable(str(name)[:60]) for name in images], _SHOWN) or "none"
            raise UserError(f"the observation has no image of camera {camera} (images: {present})")
    text = instruction_of(payload.get("task_description"), "task_description")
    state = next((payload[name] for name in _STATES if name in payload), None)
    return Request(
        images={camera: images[camera] for camera in spec.cameras},
        state=state,
        prompt=None if text is None else Prompt(text),
    ).checked(spec)


def parts_of(message: Any) -> tuple[str, Mapping[Any, Any], int]:
    """Return the type, payload and number of a message.

    Args:
        message: As it was unpacked, unchecked.

    Raises:
        MessageError: It has no type or number.
    """
    if not isinstance(message, Mapping):
        raise MessageError(f"the message is a {type(message).__name__}; expected a mapping")
    kind, sequence = message.get("type"), message.get("seq")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise MessageError(
            f"the message's type is {str(kind)[:40]!r}; choices: {', '.join(_TYPES)}"
        )
    if isinstance(sequence, bool) or not isinstance(sequence, int):
        raise MessageError("the message has no number `seq`")
    payload = message.get("payload")
    return kind, payload if isinstance(payload, Mapping) else {}, sequence


def _packed(kind: str, payload: Mapping[str, Any], sequence: int) -> bytes:
    message = {"type": kind, "payload": payload, "seq": sequence, "timestamp": time.time()}
    return pack(message, "vla-eval")


def _line(error: UserError) -> str:
    return f"hold: {' '.join(str(error).split())}"
