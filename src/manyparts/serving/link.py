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

    def add(self, request: Request, answer: Answer) -> str:
        """Keep an observation and what was answered.

        Returns:
            Why the episode was cut here, which the client did not end; empty if it was not.
        """
        ...

    def ended(self) -> None:
        """Have the episode written, if there is one, without waiting for it."""
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
            self.ended()
        start = time.perf_counter()
        answer = await self.service.answer(request, memory)
        self.figures.add(answer)
        if self._record is not None and (why := self._record.add(request, answer)):
            say(f"{self.name}: its episode is recorded in parts: {why}", error=True)
        if answer.held:
            seconds = time.perf_counter() - start
            say(f"{self.name}: held after {1000 * seconds:.0f} ms ({answer.held})", error=True)
        return answer

    def ended(self) -> None:
        """Note that the client's episode has ended."""
        if self._record is not None:
            self._record.ended()

    def count_refused(self) -> None:
        """Count a request that cannot be answered."""
        self.figures.refused += 1
        self.service.figures.refused += 1

    async def refuse(self, error: UserError, *, text: bool = True) -> None:
        """Close the connection for an error.

        Args:
            error: What is wrong.
            text: Whether to send it first.
        """
        line = " ".join(str(error).split())
        self.count_refused()
        say(f"{self.name}: refused: {line}", error=True)
        if text:
            await self._socket.send(f"hold: {line}")
        await self._socket.close(_REFUSED, line[:100])
