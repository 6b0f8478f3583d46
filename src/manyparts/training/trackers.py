"""Where rows of metrics go apart from metrics.jsonl: programs that draw curves, and plug-ins."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from manyparts.core.errors import SurroundingsWarning, UserError, closest
from manyparts.core.extras import in_a_line
from manyparts.core.plugins import Plugins
from manyparts.core.storage.atomic import is_full
from manyparts.training import tracker_programs

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""The trackers of this package that `track` chooses. TensorBoard also gets metrics without a
choice, wherever it is installed."""


@runtime_checkable
class Tracker(Protocol):
    """A program that shows the metrics of a run while it trains."""

    name: str
    """What people call it."""

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Add the numbers of a step.

        Args:
            step: how many steps are done.
            numbers: metric to value, as in a row of metrics.jsonl.
        """
        ...

    def close(self) -> None:
        """Write what is buffered."""
        ...


class Trackers:
    """Those trackers that work here. One that fails is left out with a warning, and training
    continues; a full disk is not a tracker's failure."""

    def __init__(self, run: Path, step: int, track: str | None) -> None:
        """Start the trackers of the run in the folder `run`, of which `step` steps are done."""
        self._trackers: list[Tracker] = []
        chosen = [] if track in (None, "tensorboard") else [track]
        with contextlib.suppress(ModuleNotFoundError):
            self._begin("tensorboard", run, step)
        for name in chosen:
            self._begin(name, run, step)

    def _begin(self, name: str, run: Path, step: int) -> None:
        with _warning(tracker_programs.title(name)):
            self._trackers.append(begin(name, run, step))

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Add the numbers of a step to each tracker. One that fails is left out from then on.

        Args:
            step: how many steps are done.
            numbers: metric to value, as in a row of metrics.jsonl.
        """
        for tracker in tuple(self._trackers):
            self._trackers.remove(tracker)
            with _warning(tracker.name):
                tracker.write(step, numbers)
                self._trackers.append(tracker)

    def close(self) -> None:
        """Close each tracker."""
        for tracker in self._trackers:
            with _warning(tracker.name):
                tracker.close()
        self._trackers = []


def _checked(name: str, value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise TypeError(f"it is of type {type(value).__name__}; expected a class of trackers")
    return value


PLUGINS = Plugins("trackers", lambda: (*TRACKERS, "trackio"), _checked)
"""Trackers of other distributions, entry points of the group `manyparts.trackers`: a class, or a
function, that takes the run's folder and how many steps are done, and returns a `Tracker`."""


class PluginTracker:
    """A tracker of a plug-in. What it raises, also if a network is down, is its own affair."""

    def __init__(self, name: str, run: Path, step: int) -> None:
        self.name = name
        with _contained():
            self._inner = PLUGINS.load(name)(run, step)

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        with _contained():
            self._inner.write(step, numbers)

    def close(self) -> None:
        with _contained():
            self._inner.close()


class _FailedTrackerError(Exception):
    """What a plug-in raised, in a line."""


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise _FailedTrackerError(in_a_line(error)) from error


def tracker_names() -> list[str]:
    """The names that `track` takes. Those of plug-ins, which come last, may not load."""
    return [*TRACKERS, *PLUGINS.names()]


def require_tracker(track: str | None) -> None:
    """Raise UserError if a tracker is unknown, is not installed, or does not load."""
    if track is None:
        return
    if track not in tracker_names():
        raise UserError(f"track is {track!r}; {closest(str(track), tracker_names())}")
    require_installed(track)


def require_installed(name: str) -> None:
    """Raise UserError if a tracker of those that `begin` takes is not installed, or does not
    load."""
    if name in tracker_programs.PROGRAMS:
        tracker_programs.package_of(name)
    else:
        PLUGINS.load(name)


def begin(name: str, run: Path, step: int) -> Tracker:
    """Start a tracker of a run.

    Args:
        name: one of `tracker_names`, or "trackio".
        run: the run's folder, with its config.json.
        step: how many steps are done.

    Returns:
        The tracker. It, and its start, may raise anything that an installed package raises.
    """
    if name in tracker_programs.PROGRAMS:
        return tracker_programs.PROGRAMS[name](run, step)
    return PluginTracker(name, run, step)


@contextlib.contextmanager
def _warning(name: str) -> Iterator[None]:
    """Turn what an installed package raises, which may be anything, into a warning."""
    try:
        yield
    except ModuleNotFoundError:  # it is not installed
        raise
    except Exception as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        warnings.warn(
            f"{name} is installed but does not work ({in_a_line(error)}): curves are in "
            "metrics.jsonl",
            SurroundingsWarning,
            stacklevel=2,
        )
