"""Where rows of metrics go apart from metrics.jsonl: TensorBoard, Weights & Biases, plug-ins."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from manyparts.core.errors import SurroundingsWarning, UserError, closest
from manyparts.core.extras import in_a_line, install_command, load_package
from manyparts.core.naming import NAME
from manyparts.core.plugins import Plugins
from manyparts.core.storage.atomic import is_full

TRACKERS = ("wandb",)
"""The trackers of this package that `track` chooses. TensorBoard needs no choice."""


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
        with _warning("TensorBoard"), contextlib.suppress(ModuleNotFoundError):
            self._trackers.append(TensorBoard(run, step))
        if track == "wandb":
            with _warning("wandb"):
                self._trackers.append(Wandb(run))
        elif track is not None:
            with _warning(track):
                self._trackers.append(PluginTracker(track, run, step))

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


class TensorBoard:
    """Events in RUN/tensorboard; a resumed run hides those after its checkpoint."""

    name = "TensorBoard"

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purged = step + 1 if step else None
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=purged)

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run of Weights & Biases in RUN/wandb, which `wandb sync` uploads later.

    It is sent at once only if the user sets WANDB_MODE=online. A run that is resumed becomes a
    further run of the same name and group.
    """

    name = "wandb"

    def __init__(self, run: Path) -> None:
        wandb = _wandb()
        config = run / "config.json"
        name = run.resolve().name
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", NAME),
            name=name,
            group=name,
            dir=str(run),
            config=json.loads(config.read_text()) if config.exists() else {},
            mode=os.environ.get("WANDB_MODE", "offline"),
            # What is printed stays with the user, who has a progress bar there.
            settings=wandb.Settings(console="off", silent=True),
        )

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


def _checked(name: str, value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise TypeError(f"it is of type {type(value).__name__}; expected a class of trackers")
    return value


PLUGINS = Plugins("trackers", lambda: ("tensorboard", *TRACKERS), _checked)
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
    if track in TRACKERS:
        _wandb()
    else:
        PLUGINS.load(track)


def _wandb() -> Any:
    return load_package("wandb", "track", install_command("wandb"))


@contextlib.contextmanager
def _warning(name: str) -> Iterator[None]:
    """Turn what an installed package raises, which may be anything, into a warning."""
    try:
        yield
    except (OSError, ModuleNotFoundError):  # the disk is full; it is not installed
        raise
    except Exception as error:
        warnings.warn(
            f"{name} is installed but does not work ({in_a_line(error)}): curves are in "
            "metrics.jsonl",
            SurroundingsWarning,
            stacklevel=2,
        )
