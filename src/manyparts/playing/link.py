"""The connection to a page: its messages, the pace of its episode, and frames as it takes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from manyparts.core.errors import UserError, closest
from manyparts.core.extras import in_a_line
from manyparts.core.printing import counted, say
from manyparts.playing import messages, showing
from manyparts.playing.cast import Cast
from manyparts.playing.commands import COMMANDS, carry_out
from manyparts.playing.session import Session

T = TypeVar("T")

WINDOW = 2  # frames under way that the page has not acknowledged
_FRAME_SECONDS = 1 / 30  # between two frames at least
_BETWEEN_EPISODES = 0.8  # seconds
_MAX_SPEED = 64.0
_IDLE_SECONDS = 0.25
_OWN = ("run", "step", "speed", "ack", "automatic", "views", "paths")
_REFUSED = 1011


class Link:
    """To one page.

    Args:
        socket: The websocket.
        cast: What there is to play with.
        thread: In which everything happens that takes time.
        name: Of the page, for the log.
    """

    def __init__(self, socket: Any, cast: Cast, thread: ThreadPoolExecutor, name: str) -> None:
        self._socket, self._cast, self._thread, self.name = socket, cast, thread, name
        self._session: Session
        self._changed = asyncio.Event()
        self._running, self._single = False, 0
        self._speed = 1.0  # times real time; 0: as fast as it goes
        self._saves = self._saves_hand_alone = False
        self._goes_on = True
        self._views = self._paths = False
        self._is_dirty = True
        self._sent = self._acknowledged = 0
        self._next_step = self._next_frame = 0.0

    async def run(self) -> None:
        """Play until the page goes away."""
        try:
            self._session = await self._do(Session, self._cast)
        except Exception as error:  # a simulator raises what it likes
            line = str(error) if isinstance(error, UserError) else in_a_line(error)
            say(f"error: {self.name}: {line}", error=True)
            await self._say("refused", line)
            await self._socket.close(_REFUSED, "no environment")
            return
        try:
            await self._send({"type": "hello", **showing.of_cast(self._cast)})
            await self._describe()
            tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._play())]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for task in done:
                task.result()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        session = self._session
        if session.has_unsaved_work:
            steps = counted(len(session.trace.moments), "step")
            say(f"{self.name}: left with {steps} by hand that were not saved", error=True)
        await asyncio.shield(self._do(session.close))

    async def _read(self) -> None:
        """Do what the page asks for, one message after the other."""
        async for data in self._socket:
            kind = ""
            try:
                message = messages.read(data)
                kind = message["type"]
                await self._obey(kind, message)
            except UserError as error:
                await self._say("refused", str(error), of=kind[:40])
            except Exception as error:
                say(f"error: {self.name}: {in_a_line(error)}", error=True)
                await self._say("refused", f"it failed: {in_a_line(error)}", of=kind[:40])
            self._changed.set()

    async def _obey(self, kind: str, message: Mapping[str, Any]) -> None:
        if kind in _OWN:
            self._obey_own(kind, message)
            return
        if kind not in COMMANDS:
            near = closest(kind[:40], [*COMMANDS, *_OWN])
            raise UserError(f"unknown message {kind[:40]!r}; {near}")
        session = self._session
        words = await self._do(carry_out, session, message)
        self._is_dirty = self._is_dirty or kind != "hand"
        if kind in ("task", "style"):
            await self._describe()
        if words:
            await self._say("said", words, of=kind)
        if kind == "save" and self._goes_on and (session.ended or session.control == "hand"):
            await self._do(session.begin, session.seed + 1)

    def _obey_own(self, kind: str, message: Mapping[str, Any]) -> None:
        """Do what concerns the pace and the frames."""
        if kind == "run":
            self._running = messages.flag(message, "on")
            self._is_dirty = True
        elif kind == "step":
            self._running, self._single = False, self._single + 1
        elif kind == "speed":
            self._speed = messages.number(message, "factor", 0, _MAX_SPEED)
        elif kind == "ack":
            self._acknowledged = messages.whole(message, "frame", self._acknowledged, self._sent)
        elif kind == "automatic":
            self._saves = messages.flag(message, "save")
            self._saves_hand_alone = messages.flag(message, "only_hand")
            self._goes_on = messages.flag(message, "next")
        else:
            on = messages.flag(message, "on")
            self._views = on if kind == "views" else self._views
            self._paths = on if kind == "paths" else self._paths
            self._is_dirty = True

    # The pace.

    async def _play(self) -> None:
        """Take steps when they are due, and send frames when the page takes them."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                moved = await self._step_if_due(loop.time())
            except UserError as error:
                self._running, self._single, moved = False, 0, False
                self._is_dirty = True
                await self._say("refused", str(error), of="run")
            except Exception as error:
                self._running, self._single, moved = False, 0, False
                self._is_dirty = True
                say(f"error: {self.name}: {in_a_line(error)}", error=True)
                await self._say("refused", f"it failed: {in_a_line(error)}", of="run")
            self._is_dirty = self._is_dirty or moved
            is_open = self._sent - self._acknowledged < WINDOW
            if self._is_dirty and is_open and loop.time() >= self._next_frame:
                await self._send_frame()
            await self._wait(loop.time(), moved)

    async def _step_if_due(self, now: float) -> bool:
        """Take a step if it is due, and return whether one was taken."""
        if not (self._running or self._single) or now < self._next_step:
            return False
        session = self._session
        self._single = max(self._single - 1, 0)
        ended_before = bool(session.ended)
        waited = session.waiting
        moved = await self._do(session.step)
        self._is_dirty = self._is_dirty or session.waiting != waited
        seconds = self._seconds_per_step()
        # A step that came late does not hurry the next ones by more than a little.
        self._next_step = max(self._next_step + seconds, now - 0.1)
        if session.ended and not ended_before:
            await self._at_the_end()
        return moved

    async def _at_the_end(self) -> None:
        """Save a solved episode of a person, and go on with the next one."""
        session = self._session
        self._is_dirty = True
        await self._send({"type": "counts", **showing.counts(session)})
        is_solved = session.solved_at is not None and showing.is_own(session.env, session.followed)
        has_own = session.trace.by_hand() or not self._saves_hand_alone
        if self._saves and is_solved and has_own and not session.saved:
            save = partial(session.save, None, only_hand=self._saves_hand_alone)
            await self._say("said", await self._do(save), of="save")
        lost = session.has_unsaved_work
        if not self._goes_on or lost:
            return
        await self._send_frame()
        await asyncio.sleep(_BETWEEN_EPISODES if self._speed == 1 else 0)
        if session.ended:  # nobody began another one meanwhile
            await self._do(session.begin, session.seed + 1)

    def _seconds_per_step(self) -> float:
        session = self._session
        if not self._speed or (session.hand.waits and session.control == "hand"):
            return 0.0  # a person who chooses is as quick as they like
        return 1 / (session.env.embodiment_spec.action.control_rate_hz * self._speed)

    async def _wait(self, now: float, moved: bool) -> None:
        """Wait for the next step, the next frame or the next message, whichever comes first."""
        session = self._session
        goes_on = (self._running or self._single > 0) and not session.ended
        if goes_on and (moved or not session.waiting):
            seconds = self._next_step - now
        elif self._is_dirty and self._sent - self._acknowledged < WINDOW:
            seconds = self._next_frame - now
        else:
            seconds = _IDLE_SECONDS
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    # What is sent.

    async def _send_frame(self) -> None:
        self._is_dirty = False
        self._sent += 1
        self._next_frame = asyncio.get_running_loop().time() + _FRAME_SECONDS
        header = {"frame": self._sent, "running": self._running}
        await self._socket.send(await self._do(self._frame, header))

    def _frame(self, header: Mapping[str, Any]) -> bytes:
        session = self._session
        shown = dict(header) | showing.of_episode(session, paths=self._paths)
        return showing.frame(shown, showing.pictures(session, views=self._views))

    async def _describe(self) -> None:
        task = await self._do(showing.of_task, self._session)
        await self._send({"type": "task", **task})
        await self._send({"type": "counts", **showing.counts(self._session)})

    async def _say(self, kind: str, text: str, of: str = "") -> None:
        await self._send({"type": kind, "text": " ".join(text.split()), "of": of})

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._socket.send(json.dumps(message))

    async def _do(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the thread that owns simulators and agents."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)
