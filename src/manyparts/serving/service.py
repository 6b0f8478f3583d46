"""An agent that several clients share: one decides at a time, and late answers hold the robot."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.core.printing import counted, say
from manyparts.core.records import Prompt
from manyparts.serving.description import Description
from manyparts.serving.session import Answer, Conversation, Memory, Request

_KEPT = 10_000  # durations of answers, for their quantiles


class HoldError(UserError):
    """A request cannot be answered, and the robot is to be held still."""


@dataclass
class Figures:
    """What happened to the requests of a client, or of all of them."""

    requests: int = 0
    """Requests that were answered by actions."""
    limited: int = 0
    """Answers with actions that were brought nearer to those before."""
    held: int = 0
    """Answers that hold the robot."""
    refused: int = 0
    """Requests that were refused."""
    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """How long the agent took for the last answers."""

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.requests += 1
        self.limited += answer.limited
        self.held += bool(answer.held)
        if not answer.held:
            self.milliseconds.append(answer.milliseconds)

    def summary(self) -> str:
        """What to say of them in a log."""
        text = counted(self.requests, "request")
        if self.milliseconds:
            p50, p99 = np.percentile(list(self.milliseconds), (50, 99))
            text += f", infer p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        for count, what in (
            (self.limited, "brought within --max-change"),
            (self.held, "held"),
            (self.refused, "refused"),
        ):
            text += f", {count} {what}" if count else ""
        return text


@dataclass
class _Asked:
    """A request that waits for its answer."""

    request: Request
    memory: Memory
    answer: asyncio.Future[Answer]


class Service:
    """Answers clients in the order in which they ask, in a thread of its own.

    Meanwhile the event loop answers pings and health checks.

    Args:
        conversation: What decides.
        description: What clients are told of the agent.
        deadline_ms: An answer that takes longer holds the robot; None: clients wait.
        batch_wait_ms: How long a request waits for others, to be decided together with them.

    Attributes:
        figures: Of all clients together.
        waiting: Requests that are not answered yet.
        stopping: Whether no further requests are answered.
    """

    def __init__(
        self,
        conversation: Conversation,
        description: Description,
        *,
        deadline_ms: float | None = None,
        batch_wait_ms: float = 0,
    ) -> None:
        if not 0 <= batch_wait_ms <= 1000:
            raise UserError(f"--batch-wait-ms is {batch_wait_ms:g}; expected 0 to 1000")
        if deadline_ms is not None and not deadline_ms > 0:
            raise UserError(f"--deadline-ms is {deadline_ms:g}; expected more than 0")
        self.description, self._conversation = description, conversation
        self._deadline = None if deadline_ms is None else deadline_ms / 1000
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agent")
        self.figures, self.waiting, self.stopping = Figures(), 0, False
        self._is_slow, self._batch_wait = False, batch_wait_ms / 1000
        self._batch: list[_Asked] = []
        self._batches: set[asyncio.Task[None]] = set()  # a task that nobody keeps may vanish

    def warm_up(self) -> None:
        """Decide once from a blank observation, since the first decision of a process is slow."""
        spec, tasks = self.description.spec, self.description.tasks
        images = {name: np.zeros((*size, 3), np.uint8) for name, size in spec.cameras.items()}
        prompt = Prompt(tasks[0].instruction if tasks else "act")
        state = np.zeros(spec.state_dimension, np.float32)
        self._conversation.answers([(Request(images, state, prompt).checked(spec), Memory())])

    async def answer(self, request: Request, memory: Memory) -> Answer:
        """Return the answer to a request.

        Args:
            request: The client's, checked.
            memory: Of its episode.

        Raises:
            UserError: The request does not fit the robot, or there is no way to hold it.
        """
        if self.stopping:
            return self._held(request, memory, "the server is stopping")
        self.waiting += 1
        try:
            answer = await asyncio.wait_for(self._decided(request, memory), self._deadline)
        except TimeoutError:
            assert self._deadline is not None
            why = f"late: the agent took longer than {1000 * self._deadline:g} ms"
            answer = self._held(request, memory, why)
        finally:
            self.waiting -= 1
        self.figures.add(answer)
        self._warn_if_slow(answer)
        return answer

    async def drained(self, seconds: float) -> None:
        """Answer no further requests, and wait until those under way are answered.

        Args:
            seconds: How long to wait at most.
        """
        self.stopping = True
        for _ in range(round(20 * seconds)):
            if not self.waiting:
                return
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """End the agent's thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _decided(self, request: Request, memory: Memory) -> Answer:
        """The agent's answer, together with those to the requests that come soon after it."""
        loop = asyncio.get_running_loop()
        asked = _Asked(request, memory, loop.create_future())
        self._batch.append(asked)
        if len(self._batch) == 1:
            task = asyncio.create_task(self._decide_batch())
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)
        return await asked.answer

    async def _decide_batch(self) -> None:
        if self._batch_wait:
            await asyncio.sleep(self._batch_wait)
        asked, self._batch = self._batch, []
        groups = [asked] if self._batch_wait else [[each] for each in asked]
        for group in groups:
            await self._decide(group)

    async def _decide(self, asked: Sequence[_Asked]) -> None:
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self._thread, self._results, asked)
        for each, result in zip(asked, results, strict=True):
            if each.answer.done():
                continue
            if isinstance(result, UserError):
                each.answer.set_exception(result)
            else:
                each.answer.set_result(result)

    def _results(self, asked: Sequence[_Asked]) -> list[Answer | UserError]:
        """Answers to requests, computed in the agent's thread once it is free.

        Who does not wait any longer by then needs no decision: else requests that are late would
        make all that come after them late, too.
        """
        waits = [not each.answer.done() for each in asked]
        pairs = [
            (each.request, each.memory) for each, wait in zip(asked, waits, strict=True) if wait
        ]
        try:
            decided = iter(self._conversation.answers(pairs) if pairs else [])
        except Exception as error:
            # A defect of ours: the robot is held, and the server goes on.
            say(f"error: {in_a_line(error)}", error=True)
            decided = iter([HoldError(f"the agent failed: {in_a_line(error)}")] * len(pairs))
        return [next(decided) if wait else HoldError("nobody waited") for wait in waits]

    def _held(self, request: Request, memory: Memory, why: str) -> Answer:
        answer = self._conversation.hold(request, memory, why)
        if answer is None:
            raise HoldError(why)
        return answer

    def _warn_if_slow(self, answer: Answer) -> None:
        """Say once that answers take longer than their actions."""
        contract = self.description.spec.action
        milliseconds = 1000 * len(answer.actions) / contract.control_rate_hz
        if answer.milliseconds > milliseconds and not self._is_slow and self.figures.requests > 10:
            self._is_slow = True
            say(
                f"warning: an answer took {answer.milliseconds:.0f} ms, and its "
                f"{counted(len(answer.actions), 'action')} last {milliseconds:.0f} ms at "
                f"{contract.control_rate_hz:g} Hz: the robot waits",
                error=True,
            )
