"""The connection to one client: its messages, its answers, and what is recorded of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

from manyparts.core.errors import UserError
from manyparts.core.messages import Limits
from manyparts.core.printing import say
from manyparts.serving.service import Figures, Service
from manyparts.serving.session import Answer, Memory, Request

_REFUSED = 1011  # openpi's close code after an error


class Record(Protocol):
    """What keeps the episodes of one client."""

    def add(self, request: Request, answer: Answer) -> bool:
        """Keep an observation and what was answered.

        Returns:
            Whether there is so much that it should be written, as if the episode had ended.
        """
        ...

    async def ended(self) -> None:
        """Write the episode, if there is one."""
        ...


class Link:
    """To one client.

    Args:
        socket: The websocket.
        service: What answers.
        limits: How much a message may hold.
        record: Where its episodes are kept; None: nowhere.
        name: Of the client, for the log.

    Attributes:
        figures: Of this client's requests.
    """

    def __init__(
        self, socket: Any, service: Service, limits: Limits, record: Record | None, name: str
    ) -> None:
        self.service, self.limits, self.name = service, limits, name
        self._socket, self._record = socket, record
        self.figures = Figures()

    async def messages(self) -> AsyncIterator[bytes | str]:
        """The client's messages until it goes away."""
        async for data in self._socket:
            yield data

    async def send(self, data: bytes | str) -> None:
        """Send a message."""
        await self._socket.send(data)

    async def answer(self, request: Request, memory: Memory) -> Answer:
        """See `Service.answer`; the answer is counted and recorded."""
        starts_anew = request.episode is not None and request.episode != memory.episode
        if starts_anew:
            await self.ended()
        start = time.perf_counter()
        answer = await self.service.answer(request, memory)
        self.figures.add(answer)
        if self._record is not None and self._record.add(request, answer):
            say(f"{self.name}: its episode is long, and is recorded in parts", error=True)
            await self.ended()
        if answer.held:
            seconds = time.perf_counter() - start
            say(f"{self.name}: held after {1000 * seconds:.0f} ms ({answer.held})", error=True)
        return answer

    async def ended(self) -> None:
        """Note that the client's episode has ended."""
        if self._record is not None:
            await self._record.ended()

    async def refuse(self, error: UserError, *, text: bool = True) -> None:
        """Close the connection for an error.

        Args:
            error: What is wrong.
            text: Whether to send it first.
        """
        line = " ".join(str(error).split())
        self.figures.refused += 1
        say(f"{self.name}: refused: {line}", error=True)
        if text:
            await self._socket.send(f"hold: {line}")
        await self._socket.close(_REFUSED, line[:100])
