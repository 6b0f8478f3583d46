"""What a page may ask of its session, by the type of its message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from manyparts.core.errors import UserError
from manyparts.playing import messages
from manyparts.playing.hand import STYLES
from manyparts.playing.session import CONTROLS, Session

Message = Mapping[str, Any]
MAX_SEED = 2**31 - 1


def _task(session: Session, message: Message) -> str:
    session.show(messages.text(message, "task"))
    return ""


def _reset(session: Session, message: Message) -> str:
    seed = session.seed
    if message.get("seed") is not None:
        seed = messages.whole(message, "seed", 0, MAX_SEED)
    session.begin(seed)
    return ""


def _next(session: Session, message: Message) -> str:
    session.begin(min(session.seed + 1, MAX_SEED))
    return ""


def _instruction(session: Session, message: Message) -> str:
    return session.ask(None if message.get("text") is None else messages.text(message, "text"))


def _goal(session: Session, message: Message) -> str:
    source = messages.word(message, "of", ("scene", "expert", "images", "none"))
    if source == "none":
        return session.show_goal(None)
    if source == "scene":
        return session.show_goal(session.scene())
    if source == "expert":
        return session.show_expert_goal()
    session.require("goal_image")
    return session.show_goal(messages.images(message, "images", session.env.embodiment_spec))


def _demonstration(session: Session, message: Message) -> str:
    source = messages.word(message, "of", ("expert", "data", "none"))
    if source == "none":
        return session.show_demonstration(None, "")
    if source == "expert":
        return session.show_expert_demonstration()
    return session.show_recorded_demonstration(messages.whole(message, "episode", 0, 2**31))


def _control(session: Session, message: Message) -> str:
    who = messages.word(message, "who", CONTROLS)
    session.take(next(each for each in CONTROLS if each == who))
    return ""


def _hand(session: Session, message: Message) -> str:
    session.wish = messages.wish(message, session.env.embodiment_spec)
    return ""


def _style(session: Session, message: Message) -> str:
    style = messages.word(message, "style", STYLES)
    session.hand.style = next(each for each in STYLES if each == style)
    return ""


def _expert(session: Session, message: Message) -> str:
    session.put_expert_beside(messages.flag(message, "on"))
    return ""


def _push(session: Session, message: Message) -> str:
    at = messages.number(message, "x", 0, 1), messages.number(message, "y", 0, 1)
    towards = messages.number(message, "right", -1, 1), messages.number(message, "up", -1, 1)
    pushed = session.push(at, towards)
    return f"pushed {pushed}" if pushed else "nothing is there to be pushed"


def _save(session: Session, message: Message) -> str:
    only_hand = message.get("only_hand") is not None and messages.flag(message, "only_hand")
    return session.save(messages.verdict(message, "success"), only_hand=only_hand)


COMMANDS: Mapping[str, Callable[[Session, Message], str]] = {
    "task": _task,
    "reset": _reset,
    "next": _next,
    "instruction": _instruction,
    "goal": _goal,
    "demonstration": _demonstration,
    "control": _control,
    "hand": _hand,
    "style": _style,
    "expert": _expert,
    "push": _push,
    "save": _save,
}
"""Type of a message to what it does; each returns what there is to say, or nothing."""


def carry_out(session: Session, message: Message) -> str:
    """Do what a message asks for.

    Args:
        session: The page's.
        message: Of a type in `COMMANDS`, its fields unchecked.

    Returns:
        What there is to say; empty if nothing.

    Raises:
        UserError: It cannot be done; then nothing has changed.
    """
    if message["type"] not in COMMANDS:
        raise UserError(f"unknown message {message['type'][:40]!r}")
    return COMMANDS[message["type"]](session, message)
