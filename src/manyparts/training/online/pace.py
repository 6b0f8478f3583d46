"""How fast an online run acts and learns, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from manyparts.core.printing import say
from manyparts.training.config import OnlineConfig

# A first estimate needs so many updates and seconds: the first update is slower than the others.
_UPDATES, _SECONDS = 10, 5.0


@dataclass(frozen=True)
class Rates:
    """What a run did per second since it was begun or resumed, all its work together."""

    environment_steps: float
    """Collected environment steps per second."""

    updates: float
    """Optimiser steps per second."""

    seconds_left: float
    """An estimate of the time until its last evaluation; infinite before the first update."""


class Pace:
    """Counts steps and time of a run.

    Evaluations are a large part of a run and come seldom. They are expected to take as long as
    collecting as many steps did.

    Args:
        online: The run's schedule.
        updates: Optimiser steps of the whole run.
        evaluate_every: Optimiser steps between evaluations.
        episode_steps: Environment steps of the longest episode.
        environment_steps: Those that were taken before.
        clock: Seconds.
    """

    def __init__(
        self,
        online: OnlineConfig,
        *,
        updates: int,
        evaluate_every: int,
        episode_steps: int,
        environment_steps: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._online, self._updates, self._every = online, updates, evaluate_every
        self._episode_steps, self._clock = episode_steps, clock
        self._began, self._first_steps = clock(), environment_steps
        self._first_update: int | None = None
        self._acted = 0.0  # seconds
        self._is_announced = False

    def acted(self, seconds: float) -> None:
        """Count time of acting."""
        self._acted += seconds

    def rates(self, update: int, environment_steps: int) -> Rates:
        """The rates so far.

        Args:
            update: How many optimiser steps are done.
            environment_steps: How many environment steps were taken.
        """
        if self._first_update is None:
            self._first_update = update
        seconds = max(self._clock() - self._began, 1e-9)
        steps, updates = environment_steps - self._first_steps, update - self._first_update
        left = float("inf")
        if updates and steps:
            step_seconds = self._acted / steps
            check = self._online.evaluation_episodes * self._episode_steps * step_seconds
            checks = update // self._every - self._first_update // self._every
            each = max(seconds - checks * check, 0.0) / updates
            # The last update is followed by a check, too.
            checks_left = -(-self._updates // self._every) - update // self._every
            last = self._online.final_episodes * self._episode_steps * step_seconds
            left = (self._updates - update) * each + checks_left * check + last
        return Rates(steps / seconds, updates / seconds, left)

    def announce(self, update: int, environment_steps: int, device: str) -> None:
        """Say once how long the run will take, as soon as there is something to judge by.

        Args:
            update: How many optimiser steps are done.
            environment_steps: How many environment steps were taken.
            device: Where it learns.
        """
        rates = self.rates(update, environment_steps)
        assert self._first_update is not None
        is_early = update - self._first_update < _UPDATES
        if self._is_announced or is_early or self._clock() - self._began < _SECONDS:
            return
        self._is_announced = True
        say(
            f"about {duration(rates.seconds_left)} on {device}, judged by the first "
            f"{update - self._first_update} updates: {rates.environment_steps:.3g} environment "
            f"steps/s, {rates.updates:.3g} updates/s",
            error=True,
        )


def duration(seconds: float) -> str:
    """A time for people: "40 s", "12 min" or "3.5 h"; "an unknown time" if it is infinite."""
    if seconds == float("inf"):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
