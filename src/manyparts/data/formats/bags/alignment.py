"""Align the topics of a bag: at each message of the clock, the latest message of every other topic
that is not after it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.bags.mapping import BagMapping

_SECOND = 10**9  # in nanoseconds, as all times here
_MAX_BACK = _SECOND  # how far messages of one topic may be out of order
_MAX_APART = _SECOND  # between the header's time and that of the log, before it is said
_STALE = 3  # a message is old if it is so many usual intervals away


@dataclass
class TopicTimes:
    """The times of a topic's messages, in the order of the log."""

    topic: str
    """The topic."""
    logged: list[int] = field(default_factory=list)
    """When each was logged."""
    stamps: list[int] = field(default_factory=list)
    """The time of each one's header; empty for messages without a header."""

    def add(self, logged: int, stamp: int | None) -> None:
        """Add a message. stamp: the time of its header; None if it has none."""
        self.logged.append(logged)
        if stamp is not None:
            self.stamps.append(stamp)

    def has_empty_headers(self) -> bool:
        """Whether there are headers, and none of them holds a time."""
        return bool(self.stamps) and not any(self.stamps)

    def resolve(self, *, by_log: bool) -> np.ndarray:
        """The time of each message, int64 (n,): of its header, or that of the log.

        Raises:
            UserError: some headers hold no time, or the times go back.
        """
        if by_log or not self.stamps or self.has_empty_headers():
            return np.asarray(self.logged, np.int64)
        times = np.asarray(self.stamps, np.int64)
        if len(empty := np.flatnonzero(times == 0)):
            raise UserError(
                f"message {empty[0]} of {self.topic} has a header without a time (0), and others "
                "have one; add the topic to log_time"
            )
        return times

    def seconds_apart(self) -> float:
        """The median of the seconds between a message's header and the log."""
        if not self.stamps or self.has_empty_headers():
            return 0.0
        return float(np.median(np.subtract(self.logged, self.stamps))) / _SECOND


@dataclass(frozen=True)
class Old:
    """A topic's messages that were old when a row took them."""

    rows: int
    """How many rows."""
    first: int
    """The first of them."""
    seconds: float
    """The age of the oldest one."""


@dataclass(frozen=True)
class Alignment:
    """The rows of a bag."""

    stamps: np.ndarray
    """float64 (T,), times in seconds since the first row."""
    picks: Mapping[Hashable, np.ndarray]
    """int64 (T,), for each follower the number of its message, among those that it keeps."""
    early: int
    """Messages of the clock before some topic's first message, which are no rows."""
    doubled: int
    """Messages of the clock with the time of the next one, which are no rows."""
    old: Mapping[str, Old]
    """Topics that stop for a while, or end before the clock."""
    empty_headers: tuple[str, ...]
    """Topics of which no header holds a time, so that they go by the log."""
    apart: Mapping[str, float]
    """Seconds between the headers and the log, where they are far apart."""


def align(
    mapping: BagMapping,
    times: Mapping[str, TopicTimes],
    followers: Mapping[tuple[Hashable, str], np.ndarray],
    bag: Path,
) -> Alignment:
    """Align a bag.

    Args:
        mapping: the mapping.
        times: the times of each topic's messages.
        followers: int, ascending, the numbers of the messages that each follower keeps, by the
            follower and its topic.
        bag: the bag, for errors.

    Raises:
        UserError: times that contradict, or no row at all.
    """
    by_log = {topic: mapping.goes_by_log(topic) for topic in times}
    resolved: dict[str, np.ndarray] = {}
    for topic in {mapping.clock, *(topic for _, topic in followers)}:
        try:
            resolved[topic] = times[topic].resolve(by_log=by_log[topic])
        except UserError as error:
            raise UserError(f"{bag}: {error}") from error
        _require_forward(resolved[topic], topic, bag, is_clock=topic == mapping.clock)
    clock = resolved[mapping.clock]
    new = np.append(np.diff(clock) > 0, True)
    rows = clock[new]
    positions, ages = {}, {}
    for (follower, topic), kept in followers.items():
        own = resolved[topic][kept]
        positions[follower] = _latest(own, rows)
        ages[follower] = topic, own, rows - own[positions[follower]]
    is_row = np.all([each >= 0 for each in positions.values()], axis=0)
    if not is_row.any():
        raise UserError(_why_no_rows(mapping, resolved, followers, rows, bag))
    early = int(np.argmax(is_row))
    rows = rows[early:]
    old = {}
    for topic, own, age in ages.values():
        if stale := _old(own, age[early:], rows):
            old[topic] = stale
    used = {topic for topic in resolved if not by_log[topic]}
    apart = {topic: times[topic].seconds_apart() for topic in sorted(used)}
    return Alignment(
        stamps=(rows - rows[0]) / _SECOND,
        picks={follower: each[early:] for follower, each in positions.items()},
        early=early,
        doubled=int((~new).sum()),
        old=old,
        empty_headers=tuple(sorted(topic for topic in used if times[topic].has_empty_headers())),
        apart={name: gap for name, gap in apart.items() if abs(gap) * _SECOND > _MAX_APART},
    )


def _latest(own: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each row, int64 (T,), the number of the latest message that is not after it; -1 if there
    is none. Of several with one time, it is the last in the log."""
    order = np.argsort(own, kind="stable")
    latest = np.searchsorted(own[order], rows, side="right") - 1
    return np.where(latest < 0, -1, order[latest])


def _require_forward(times: np.ndarray, topic: str, bag: Path, *, is_clock: bool) -> None:
    """Refuse times that go back: sorted, two stretches of a recording would be mixed."""
    steps = np.diff(times)
    back = np.flatnonzero(steps < (0 if is_clock else -_MAX_BACK))
    if len(back):
        seconds = -int(steps[back[0]]) / _SECOND
        raise UserError(
            f"{bag}: the time of {topic} goes back by {seconds:.3g} s at message {back[0] + 1}, as "
            "if its clock was set; cut the recording there, or add the topic to log_time"
        )


def _old(own: np.ndarray, age: np.ndarray, rows: np.ndarray) -> Old | None:
    """What is old of a topic's messages; None if nothing is, or it has only one message."""
    if len(own) < 2:
        return None
    usual = max(float(np.median(np.diff(np.sort(own)))), _median_step(rows))
    late = np.flatnonzero(age > _STALE * usual)
    return Old(len(late), int(late[0]), float(age.max()) / _SECOND) if len(late) else None


def _median_step(rows: np.ndarray) -> float:
    return float(np.median(np.diff(rows))) if len(rows) > 1 else 0.0


def _why_no_rows(
    mapping: BagMapping,
    resolved: Mapping[str, np.ndarray],
    followers: Mapping[tuple[Hashable, str], np.ndarray],
    rows: np.ndarray,
    bag: Path,
) -> str:
    first = {topic: int(resolved[topic][kept].min()) for (_, topic), kept in followers.items()}
    latest = max(first, key=lambda topic: first[topic])
    seconds = (first[latest] - int(rows[-1])) / _SECOND
    return (
        f"{bag}: the first message of {latest} comes {seconds:.3g} s after the last one of the "
        f"clock {mapping.clock}; if their headers count from different times, add both to log_time"
    )
